"""A disk that is full for a while, as one process sees it: a limit on the size of the files that it writes."""

from pathlib import Path

import pytest

resource = pytest.importorskip("resource", reason="Windows has no such limits")
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits a running process")


def limit_files(server, size: int) -> None:
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_nothing_is_bought_while_the_disk_is_full(serve, world) -> None:
    # A server that wrote its compiled modules would leave half of one for all others.
    server = serve(PYTHONDONTWRITEBYTECODE="1", LUMA_MCP_SAVE="off")
    server.call("generate_image", prompt="bought while there was room")
    limit_files(server, 0)

    said = server.refusal("generate_image", prompt="a picture too many")

    assert "nothing was sent or charged" in said
    assert str(server.home / ".luma-mcp") in said
    assert world.posts("a picture too many") == []
    limit_files(server, resource.RLIM_INFINITY)
    made = server.call("generate_image", prompt="a picture too many")
    assert made["warnings"] == ["Not saved: saving is off."]


def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing_behind(serve) -> None:
    server = serve(PYTHONDONTWRITEBYTECODE="1", LUMA_MCP_SAVE="off")
    made = server.call("generate_image", prompt="larger than what is left")
    limit_files(server, 1000)

    said = server.refusal("download_generation", generation_id=made["generation_id"])

    assert f"could not be written to {server.home / 'Luma'} (File too large)" in said
    assert "LUMA_MCP_OUTPUT_DIR" in said
    assert list((server.home / "Luma").iterdir()) == []
    limit_files(server, resource.RLIM_INFINITY)
    saved = server.call("download_generation", generation_id=made["generation_id"])
    assert Path(saved["file_path"]).exists()


def test_nothing_is_left_of_a_film_for_which_there_is_no_room(serve) -> None:
    server = serve(PYTHONDONTWRITEBYTECODE="1")
    clips = [server.call("generate_video", prompt=prompt)["file_path"] for prompt in ("one", "two")]
    kept = set((server.home / "Luma").iterdir())

    for transition in ("cut", "crossfade"):
        limit_files(server, 20_000)
        said = server.refusal("join_videos", sources=clips, transition=transition)
        limit_files(server, resource.RLIM_INFINITY)

        assert f"could not be written to {server.home / 'Luma'} (File too large)" in said
        assert set((server.home / "Luma").iterdir()) == kept
    assert server.call("join_videos", sources=clips)["clips"] == 2
