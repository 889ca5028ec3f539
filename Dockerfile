# docker build -t luma-mcp-server .
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /build
COPY . .
RUN uv venv /venv && uv pip install --python /venv --no-cache --compile-bytecode ".[media]"

FROM python:3.13-slim
COPY --from=build /venv /venv
# A volume takes its owner from the folder that it first covers.
# Without a mode, a home folder of Debian 13 is closed to the users of `docker run --user`.
RUN useradd --create-home --uid 1000 luma \
    && install --directory --mode 755 --owner luma /home/luma /home/luma/Luma /home/luma/.luma-mcp
USER 1000
WORKDIR /home/luma
# HOME, too, for `docker run --user` with a user that the image does not know.
ENV PATH="/venv/bin:$PATH" HOME=/home/luma
VOLUME ["/home/luma/Luma", "/home/luma/.luma-mcp"]
ENTRYPOINT ["luma-mcp-server"]
