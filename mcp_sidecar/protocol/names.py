"""The names of several servers in one list: what each is shown as, and whose a shown name is; knows no server.

A name is looked up and never taken apart: a server is free to publish `other__tool`, and must not be taken for the
server called `other` by it. The table is right whatever the separator, also where names of servers may hold it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

ON_CONFLICT, NEVER = "on-conflict", "never"

Owned = tuple[str, str]
"""A server, and the name that it knows."""


class Names:
    """`offered` has the names of each server; `prefix` says when the server's name is put in front (`merge.prefix`).

    A name that cannot be told from another is not shown; `servers_of` tells who has it.
    """

    def __init__(self, offered: Mapping[str, Sequence[str]], prefix: str, separator: str) -> None:
        self._prefix = prefix
        self._separator = separator
        self._offered = {server: frozenset(names) for server, names in offered.items()}
        # The longest first: where two spellings coincide, it is the longest name of a server that is meant.
        self._aliases = sorted(offered, key=len, reverse=True)
        self._servers: dict[str, list[str]] = {}
        for server, names in offered.items():
            for name in dict.fromkeys(names):
                self._servers.setdefault(name, []).append(server)
        self._shown: dict[Owned, str] = {}
        self._owned: dict[str, Owned] = {}
        for server in self._aliases:
            for name in dict.fromkeys(offered[server]):
                self._show(server, name)

    def _show(self, server: str, name: str) -> None:
        plain = self._prefix == NEVER or (self._prefix == ON_CONFLICT and not self._shadows(server, name))
        if plain and len(self._servers[name]) == 1:
            shown = name
        elif self._prefix == NEVER:
            return
        else:
            shown = self.prefixed(server, name)
        if shown not in self._owned:
            self._owned[shown] = server, name
            self._shown[server, name] = shown

    def _shadows(self, server: str, name: str) -> bool:
        """The name reads like a name of another server with that server's prefix, or like another one of its own."""
        if self._separator not in name:  # nearly all: lists are joined while somebody waits
            return False
        for alias in self._aliases:
            if name.startswith(alias + self._separator):
                rest = name[len(alias) + len(self._separator) :]
                if alias != server or rest in self._offered[server]:
                    return True
        return False

    def prefixed(self, server: str, name: str) -> str:
        """The name with its server's in front."""
        return f"{server}{self._separator}{name}"

    def shown(self, server: str, name: str) -> str | None:
        """What a server's name is shown as; None for one that is not shown."""
        return self._shown.get((server, name))

    def find(self, said: str) -> Owned | None:
        """Whose name this is. The prefixed form is understood also where the plain one is shown."""
        found = self._owned.get(said)
        if found is None and self._prefix != NEVER:
            return next((one for one in self._split(said) if one[1] in self._offered[one[0]]), None)
        return found

    def _split(self, said: str) -> Iterator[Owned]:
        for alias in self._aliases:
            if said.startswith(alias + self._separator):
                yield alias, said[len(alias) + len(self._separator) :]

    def servers_of(self, name: str) -> Sequence[str]:
        """Who has a name of their own that is this."""
        return self._servers.get(name, ())

    def nearest(self, said: str) -> str:
        """The shown name that looks most like this one; empty when none does."""
        near = difflib.get_close_matches(said[:128], self._owned, n=1)
        return near[0] if near else ""
