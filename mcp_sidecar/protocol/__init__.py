"""MCP without I/O: messages, streams of events, eras and headers. Fed with bytes; knows no socket, clock or log."""
