"""Kills process groups when its parent is gone: run by `guardian`, in a process of its own. Knows no program.

Standard input says which: `+GROUP` begins the watch over one, `-GROUP` ends it. The parent's death is the end of input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_PATIENCE_SECONDS = 0.5


def main() -> None:
    # Whoever ends the sidecar may end its whole process tree: this one has work to do after that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: set[int] = set()
    for line in sys.stdin:
        (watched.add if line[0] == "+" else watched.discard)(int(line[1:]))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in watched:
            with contextlib.suppress(OSError):
                os.killpg(group, number)
        if watched and number is signal.SIGTERM:
            time.sleep(_PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
