"""The pages that people look at: the player in the chat, and the gallery. Each is one file, with nothing from afar."""

import re
from importlib.resources import files


def page(name: str) -> str:
    """One page as HTML, with the styles and scripts that it names written into it."""
    folder = files(__name__)

    def text(file: str) -> str:
        return folder.joinpath(file).read_text("utf-8")

    return re.sub(r"/\* (\w+\.(?:css|js)) \*/", lambda found: text(found[1]), text(f"{name}.html"))
