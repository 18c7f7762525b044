"""A line for everything that happens in this pod, on its log and in a file that may outlive the pod."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path


class Ledger:
    """Appends to `$LEDGER/<pod>.jsonl`; a line is written whole or not at all."""

    def __init__(self) -> None:
        folder = os.environ.get("LEDGER")
        self._file = (Path(folder) / f"{socket.gethostname()}.jsonl").open("a") if folder else None

    def note(self, what: str, **facts: object) -> None:
        line = json.dumps({"what": what, "at": time.time(), "pod": socket.gethostname(), **facts})
        print(line, flush=True)
        if self._file:
            self._file.write(f"{line}\n")
            self._file.flush()
