"""A sidecar for MCP: gRPC and Streamable HTTP in, any MCP server out. This file is the map for newcomers.

Imports go down this list only, and `lint-imports` enforces it; names on one line may not see each other.

    cli         words of the command line in, exit code out
    demo        the built-in MCP server behind `mcp-sidecar demo`, and the calls it shows
    app         builds the parts, joins them, runs them, drains them: read it first
    config      YAML, environment and flags in; Settings out, or every problem at once
    telemetry   what is seen of calls, to OpenTelemetry collectors; imported only where it is switched on
    inbound     the faces (grpc/, http/), authentication, health and metrics; knows no MCP server
    injection   puts the sidecar into pods, in four ways from one template; knows no running sidecar
    | admin     the page for operators at `/` of the HTTP listener
    engine      one call: route, lease a link, exchange, retry; bridges MCP revisions; knows no socket
    outbound    links, pool, monitor: the only code that talks to MCP servers; knows no client
    wire        HTTP/1.1 listener and client; knows no MCP
    drain       leaving without losing a call: how long each phase may take
    protocol | directory | lifecycle | logs | tasks
                protocol: JSON-RPC, SSE, eras, headers as plain functions and tables, without I/O
                directory: which MCP servers there are. lifecycle: started? draining? logs: one line an event.
                tasks: work whose failure is for whoever asks for its result
    call        what travels with a request: who asks, until when, under which ids
    settings | client | shown
                settings: everything that can be set. client: the public Python client, of our gRPC API only.
                shown: names and URIs of others as they are shown and kept
    v1          generated gRPC code, from protos/
    errors      the words for what can go wrong

Where does it go? A transport to MCP servers: a link in `outbound`. A step around every gRPC call: an interceptor in
`inbound.grpc`. A setting: a field in `settings`, and a line in `config` only if it needs a rule. A failure: a class in
`errors` and a row in `inbound.status`. One call's journey through all this: docs/architecture.md.
"""

__version__ = "0.1.0"
