"""Programs that run as child processes: MCP servers on the official SDKs. They import nothing of the sidecar."""
