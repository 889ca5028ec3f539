"""`python -m luma_mcp_server` is the same as `luma-mcp-server`."""

from .cli import run

run()
