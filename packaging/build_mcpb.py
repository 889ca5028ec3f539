"""Pack the bundle for Claude Desktop: `uv run packaging/build_mcpb.py dist/luma.mcpb`. Needs Node.js."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKER = "@anthropic-ai/mcpb@2.1.2"


def stage(folder: Path) -> None:
    """Put together what the bundle holds: the manifest and the icon, and the project that uv runs."""
    shutil.copytree(ROOT / "packaging" / "mcpb", folder, dirs_exist_ok=True)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    npx = shutil.which("npx") or sys.exit("Node.js is needed: there is no npx on this computer.")
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        subprocess.run([npx, "--yes", PACKER, "pack", folder, target], check=True)  # noqa: S603 - our own words alone
