"""The tools: what a model calls. Each is a plain async function that gets its `Call` and flat arguments."""
