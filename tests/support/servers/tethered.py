"""Becomes another program that dies with its parent: `python tethered.py PARENT_PID PROGRAM ARGUMENT...` (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    # A program of its own and not a preexec_fn: that one is unsafe in a process with threads, such as one with gRPC.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone already")
    os.execv(sys.argv[2], sys.argv[2:])
