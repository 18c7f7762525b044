"""The only code that talks to MCP servers: links, the pool that keeps them, the monitor that watches them.

`link` is the interface; `http_modern` is the link to modern servers over Streamable HTTP, `legacy` the one to legacy
servers, which `http_legacy` carries over Streamable HTTP; `http` is what both share;
`probe` finds out which of the two a server speaks; `pool` leases links, `monitor` looks after them.
"""
