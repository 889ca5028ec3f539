"""How fast, small and economical the server is, against what it should be. Run by hand, never by pytest."""
