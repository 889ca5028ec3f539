"""A web server for this computer alone, for as long as a block of code runs."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@contextmanager
def serving(app: "ASGIApp", port: int = 0) -> Iterator[str]:
    """Serve an app on 127.0.0.1, in a thread, and give its address; port 0 takes a free one.

    Raises `OSError` if the port can't be had.
    """
    import uvicorn  # here, because most commands offer a server without starting it

    # asyncio turns Nagle's algorithm off only if the protocol is named; with it, answers wait 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        if os.name == "posix":  # elsewhere the option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=0,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
