"""Which threads the kernel may interrupt for which; knows not what they do (docs/decisions/0011).

Threads inherit the policy of the one that starts them.
"""

from __future__ import annotations

import os


def start_helpers() -> None:
    """From here on this thread starts threads that do not interrupt others when they wake up."""
    _set("SCHED_BATCH")


def end_helpers() -> None:
    """This thread is one of those that matter again; the threads it has started stay what they are."""
    _set("SCHED_OTHER")


def _set(policy: str) -> None:
    number = getattr(os, policy, None)
    if number is None:
        return  # not Linux
    try:
        os.sched_setscheduler(0, number, os.sched_param(0))
    except OSError:
        return  # a sandbox that does not allow it: slower, and nothing worse
