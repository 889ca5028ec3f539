"""The layers of an image, pasted together again as one picture to check them by. Needs the `media` extra."""

from collections.abc import Sequence
from io import BytesIO

from ..models import Output

_MOST_PIXELS = 64_000_000


def put_together(layers: Sequence[Output]) -> bytes | None:
    """The picture that saved layers make together, as a PNG; None where it can't be made.

    Layers come from front to back and are cropped to what they show, so each is pasted where its `bounds` say; without
    bounds they must be as large as each other. It blocks: call it in a worker thread.
    """
    if not layers:
        return None
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        pictures = [Image.open(layer.file_path or "").convert("RGBA") for layer in layers]
        first = layers[0].bounds
        size = (first["canvas_width"], first["canvas_height"]) if first else pictures[0].size
        if size[0] * size[1] > _MOST_PIXELS or not (first or all(picture.size == size for picture in pictures)):
            return None
        whole, out = Image.new("RGBA", size), BytesIO()
        for layer, picture in reversed(list(zip(layers, pictures, strict=True))):
            whole.alpha_composite(picture, (layer.bounds["x"], layer.bounds["y"]) if layer.bounds else (0, 0))
        whole.save(out, "PNG")
    except (OSError, ValueError, Image.DecompressionBombError):  # ValueError: a place outside of the canvas
        return None
    return out.getvalue()
