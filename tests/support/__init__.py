"""Everything tests stand on that is not under test: our fake MCP server, real servers, a raw client."""
