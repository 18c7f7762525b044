"""MCP over Streamable HTTP: what a request must look like, which era it is of, and the answer. Knows no upstream."""
