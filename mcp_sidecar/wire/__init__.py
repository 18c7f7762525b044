"""HTTP/1.1 in and out on httptools and asyncio protocols. Knows bytes, framing and time; knows no MCP.

`http_server` listens, `http_client` calls, `limits` bounds both, `faults` names what can go wrong.
"""
