"""An MCP server that makes videos and images with Luma's official APIs."""

__version__ = "0.1.0"
