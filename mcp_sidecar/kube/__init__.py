"""Servers found through the Kubernetes API. Imported only in `discovery.mode: namespace`; knows no connection.

`discovery` is the source that the app runs. Each of its watches is a `watch.Watch`, which asks what a
`replica.Replica` wants and feeds it with the answers, through `access`. `joining` makes servers of what is known, by
the rules of `markers` (which Services are MCP servers) and `slices` (which of their instances serve).
"""
