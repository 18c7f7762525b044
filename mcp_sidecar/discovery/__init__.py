"""MCP servers that are found while the sidecar runs. Sources publish, `directory` is told; knows no connection."""
