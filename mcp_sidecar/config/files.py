"""A YAML file to a tree, or the reason why it cannot be read; knows no key."""

from __future__ import annotations

from pathlib import Path

from mcp_sidecar.config.problems import BadConfiguration, Problem
from mcp_sidecar.config.tree import MOST_BYTES, Node, read_yaml


def read_file(file: Path) -> Node | None:
    """Return the root of the one document in a file, None when there is none; raises BadConfiguration."""
    return read_yaml(_text(file), str(file))


def _text(file: Path) -> str:
    """Return the file's text; raises BadConfiguration."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        raise BadConfiguration([Problem("", f"cannot be read: {reason}", str(file))]) from error
    if len(content) > MOST_BYTES:
        raise BadConfiguration([Problem("", f"larger than {MOST_BYTES} bytes", str(file))])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadConfiguration([Problem("", "not UTF-8 text", str(file), line)]) from error
