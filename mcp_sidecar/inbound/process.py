"""Gauges about this process, for the metrics page; knows only what the operating system tells."""

from __future__ import annotations

import math
import os
import resource
import sys
from pathlib import Path

from mcp_sidecar.inbound import instruments
from mcp_sidecar.inbound.metrics import Metrics


def watch_process(metrics: Metrics) -> None:
    """Have memory (bytes), file descriptors and CPU time (seconds) read at each snapshot, under Prometheus's names."""
    metrics.gauge(instruments.MEMORY, resident_bytes)
    metrics.gauge(instruments.FILES, open_descriptors)
    metrics.gauge(instruments.CPU_SECONDS, cpu_seconds)


def resident_bytes() -> float:
    """Resident memory; where there is no `/proc`, the highest it has been."""
    try:
        return float(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else peak * 1024)


def open_descriptors() -> float:
    """Open file descriptors; NaN where the system does not tell."""
    try:
        return float(sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1)  # one of them is this very listing
    except OSError:
        return math.nan


def cpu_seconds() -> float:
    """User and system time together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
