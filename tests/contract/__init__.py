"""What every MCP server does on the wire, checked on servers that nobody here wrote and on our fake alike."""
