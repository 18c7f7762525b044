"""The only code that talks to MCP servers: links, the pool that keeps them, the monitor that watches them.

`link` is the interface. `http_modern`, `stream_modern`, `legacy` and `grpc` are links; `http_legacy` and
`stream_legacy` carry what `legacy` says, `stream` is one stream of messages shared by many exchanges, `stdio` and
`http_sse` are such streams. `ways` chooses among them by the kind of endpoint; `probe` keeps what is known of eras,
`http_probe` and `stream_probe` find it out, `spares` keeps what that was asked over; `launcher` and `guardian` look
after child processes. `dialer` leases a connection from `pool`, `monitor` looks after them.
"""
