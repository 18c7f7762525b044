"""The only code that talks to MCP servers: links, the pool that keeps them, the monitor that watches them.

`link` is the interface; `http_modern` and `http_legacy` are links over Streamable HTTP, `http` what they share;
`probe` finds out which of the two a server speaks; `pool` leases links, `monitor` looks after them.
"""
