"""The pages that people look at: the player in the chat, and the gallery. Each is one file, with nothing from afar."""

from importlib.resources import files


def page(name: str) -> str:
    """One page as HTML, with the style and the script that all pages share written into it."""
    folder = files(__name__)
    html = folder.joinpath(f"{name}.html").read_text("utf-8")
    for shared in ("shared.css", "shared.js"):
        html = html.replace(f"/* {shared} */", folder.joinpath(shared).read_text("utf-8"))
    return html
