"""The cgroups that a cluster lives in; knows version 1, version 2 and hosts with both, and not what runs in them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

_PATIENCE_SECONDS = 5.0


def mounted(kind: str) -> list[Path]:
    """Where hierarchies of that file system type (`cgroup`, `cgroup2`) are mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == kind:
            found.append(Path(left.split()[4]))
    return found


def make(name: str) -> None:
    """Make the group in every hierarchy that has controllers. Raises `FileExistsError` when somebody has that name."""
    if old := mounted("cgroup"):
        for hierarchy in old:
            (hierarchy / name).mkdir()
            _inherit_cpus(hierarchy, hierarchy / name)
        return
    for hierarchy in mounted("cgroup2")[:1]:
        (hierarchy / name).mkdir()
        for group in (hierarchy, hierarchy / name):
            _delegate(group)


def remove(name: str) -> None:
    """Remove the group and all below it. What died in it may take the kernel a moment to forget."""
    for group in found(name):
        patience = time.monotonic() + _PATIENCE_SECONDS
        while group.exists() and time.monotonic() < patience:
            _remove_once(group)


def found(name: str) -> list[Path]:
    """The group in every hierarchy, also in those where we made none: on hosts with both versions runc uses both."""
    return [path for kind in ("cgroup", "cgroup2") for root in mounted(kind) if (path := root / name).exists()]


def _remove_once(top: Path) -> None:
    below = [path for path in top.rglob("*") if path.is_dir()]
    for group in [*sorted(below, key=lambda path: -len(path.parts)), top]:
        with contextlib.suppress(OSError):
            group.rmdir()
    time.sleep(0.05)


def _inherit_cpus(parent: Path, group: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists():
            (group / name).write_text((parent / name).read_text())


def _delegate(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # some cannot be delegated, and none of these is missed
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
