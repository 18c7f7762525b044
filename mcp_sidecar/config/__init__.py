"""File, environment and flags in; `Settings` or every `Problem` at once out. Knows nothing of what the settings do.

`tree` reads YAML with lines, `layers` makes the same tree of variables and flags, `schema` describes `Settings`,
`reading` holds a tree against that description with the grammars of `values` and `forms`, `rules` compares keys with
each other, and `load` puts the layers on top of each other. `reference` writes the documentation.
"""

from mcp_sidecar.config.load import Loaded, load
from mcp_sidecar.config.problems import BadConfiguration, Problem, format_problems

__all__ = ["BadConfiguration", "Loaded", "Problem", "format_problems", "load"]
