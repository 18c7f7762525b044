"""A small honest MCP server and the show that `mcp-sidecar demo` makes of it; knows the sidecar only from outside.

`catalogue` is what the server offers, `dialogue` answers MCP messages of both eras, `server` puts that on HTTP,
`neighbour` starts a sidecar as a child process, `acts` are the calls, `show` tells the story.
"""
