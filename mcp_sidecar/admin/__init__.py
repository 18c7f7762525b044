"""The page at `/` for whoever runs the sidecar: what there is, what happened, a few things to do. Knows no MCP wire.

`pages.py` joins the rest. Calls that ended come in through `recent.py`, everything else is looked at when somebody
asks; nothing here runs while nobody does, and a call pays for one append. `static/` is the page itself.
"""
