"""Names that vulture sees nobody use, each group with who does use them. Read by vulture, never run."""

# What agents call that are written with the official SDK.
_.sidecar_transport

# gRPC finds the methods of a servicer by the names in protos/ and in grpc.health.v1.
_.CallStream
_.Stream
_.BiDiStream
_.ListTools
_.CallTool
_.ListServers
_.ListConnections
_.GetConnection
_.OpenConnection
_.CloseConnection
_.RefreshServer
_.WatchConnections
_.Check
_.List
_.Watch
# The generated `add_…_to_server` calls it on whatever it is given.
_.add_registered_method_handlers

# asyncio calls these on a Protocol.
_.connection_made
_.connection_lost
_.data_received
_.eof_received
_.pause_writing
_.resume_writing
_.process_exited

# httptools calls these on whoever parses.
_.on_message_begin
_.on_url
_.on_header
_.on_headers_complete
_.on_body
_.on_message_complete

# The app imports it by name when discovery.mode is namespace.
_.KubeSource

# kubernetes.aio sends it.
_.user_agent

# io.RawIOBase asks for it.
_.readable

# The keys of a message, as MCP spells them.
_.toolsListChanged
_.promptsListChanged
_.resourcesListChanged

# A type for mypy: the shape of the modules that are imported by name.
_Module

# Python shows it with the traceback.
_.__cause__

# Vocabulary: complete, whether or not somebody asks yet.
_.blame

# What tests look at to see that nothing is left open.
_.open_sockets
_.busy_sockets

# Fields of a log line: written by the encoder.
_.stack
_.duration_ms
stack
duration_ms

# Tests count what was delivered against what was dropped.
_.delivered
# A knob of OpenSSL's.
_.num_tickets
# PyYAML asks a Dumper.
_.ignore_aliases

# Fields of what the admin page is told: read by the encoder.
offset_ms
# Python looks at an object's class whenever it is used (inbound/grpc/wakeups).
_.__class__
