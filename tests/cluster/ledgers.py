"""What agents sent and received, and what servers ran: the ledgers of one test, on the node's disk; knows no pod."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.cluster.kubectl import Json, Namespace


class Ledgers:
    """All lines of the pods of a namespace that keep ledgers (`manifests.keeping_ledgers`)."""

    def __init__(self, namespace: Namespace) -> None:
        self.folder = namespace.cluster.layout.ledgers / namespace.name
        self.folder.mkdir()
        self.folder.chmod(0o1777)  # pods write as a user of their own

    def lines(self) -> list[Json]:
        """Every line that is complete."""
        written = [line for file in sorted(self.folder.glob("*.jsonl")) for line in _whole_lines(file)]
        return [json.loads(line) for line in written]

    def ids(self, *what: str) -> list[str]:
        """Of the calls that this was noted of, once for each time."""
        return [line["id"] for line in self.lines() if line["what"] in what]

    def moment(self, what: str) -> float:
        """When this was first noted."""
        return min(float(line["at"]) for line in self.lines() if line["what"] == what)

    def assert_nothing_was_lost(self) -> None:
        """Every call had an answer, and every call ran exactly once."""
        failed = [line for line in self.lines() if line["what"] in {"failed", "refused", "lost"}]
        assert not failed, f"{len(failed)} of {len(self.ids('sent'))} calls failed: {failed[:5]}"
        assert sorted(self.ids("sent")) == sorted(self.ids("got"))
        ran = Counter(self.ids("ran"))
        assert set(ran) == set(self.ids("sent"))
        assert [identifier for identifier, times in ran.items() if times > 1] == []


def _whole_lines(file: Path) -> list[str]:
    text = file.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
