"""Makes room for a unix socket that is to be listened on."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path


def clear_unix(place: Path) -> None:
    """Remove the socket of a dead process. Raises `OSError` when the place is not free."""
    if not place.exists():
        return
    if not stat.S_ISSOCK(place.stat().st_mode) or _is_served(place):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(place))
    place.unlink(missing_ok=True)


def _is_served(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # whoever does not accept is still there
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            pass
    return True
