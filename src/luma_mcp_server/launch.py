"""How clients and users start this server: the one place that knows whether the package is published."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

PUBLISHED = False
"""Whether PyPI has the package. Until then its name there may be anyone's, and no command may run it."""

NAME = "luma-mcp-server"


def launch_command(
    source: str | None, *, uv: str = "uv", media: bool = False, sandbox: bool = False, published: bool = PUBLISHED
) -> list[str]:
    """The command line that starts the server.

    Args:
        source: while the package is not published, the absolute path of a clone, or of a wheel. Without it there is
            no such command: `LookupError`.
        uv: `uv`, or its absolute path: clients with a window know no PATH. `uvx` is expected beside it.
        media: with the extra for frames, films and real sandbox clips.
        sandbox: with the built-in sandbox instead of Luma.
    """
    uvx = re.sub(r"uv(\.exe)?$", r"uvx\1", uv, flags=re.IGNORECASE)
    more = ["--sandbox"] if sandbox else []
    if published:
        package = ["--from", f"{NAME}[media]"] if media else []
        return [uvx, *package, NAME, *more]
    if source is None:
        raise LookupError(
            f"{NAME} is not published yet, and where this copy came from is not known. Run it in a clone."
        )
    if source.endswith(".whl"):
        return [uvx, "--from", f"{source}[media]" if media else source, NAME, *more]
    # Without --no-dev the first start downloads the test tools too: 85 MB instead of 26.
    extra = ["--extra", "media"] if media else []
    return [uv, "run", "--no-dev", *extra, "--directory", source, NAME, *more]


def find_uv(environ: Mapping[str, str]) -> str:
    """The absolute path of uv. Source: uv docs, "Environment variables": it sets UV for what it runs."""
    found = shutil.which("uv", path=environ.get("PATH")) or environ.get("UV")
    if found is None:
        raise LookupError("uv was not found: it starts this server for the client. Install it: docs.astral.sh/uv")
    return found


def find_source() -> str | None:
    """The clone or wheel that this copy was installed from, also by `uvx --from`; None if it came from an index.

    Source: PEP 610, `direct_url.json`.
    """
    try:
        origin = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    url = urlsplit(origin.get("url", ""))
    path = url2pathname(url.path)
    return path if url.scheme == "file" and Path(path).exists() else None


def own_command(environ: Mapping[str, str], executable: str, script: str) -> str:
    """What starts this program in the user's shell: its name, if that is on PATH there.

    Args:
        environ: of this process, on whose PATH `uv run` puts the folder of its Python, which the shell does not know.
        executable: this process's Python.
        script: what it runs.
    """
    here = Path(executable).parent
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder and Path(folder) != here]
    if shutil.which(NAME, path=os.pathsep.join(folders)):
        return NAME
    path = Path(script).absolute()
    words = [executable, "-m", "luma_mcp_server"] if path.name == "__main__.py" else [str(path)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
