"""Writes the generated pages of docs/, or checks that what is committed is what would be written.

    python hack/docs.py            write
    python hack/docs.py --check    compare; exit 1 and name the files when they differ

Knows where the pages go, and not what stands in them: that is `mcp_sidecar.config.reference`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mcp_sidecar.config import reference

DOCS = Path(__file__).resolve().parent.parent / "docs"


def stale(fresh: Path) -> list[str]:
    """The names of the pages below `fresh` that docs/ has otherwise or not at all."""
    pages = sorted(path for path in fresh.rglob("*") if path.is_file())
    names = [str(path.relative_to(fresh)) for path in pages]
    return [
        name
        for name in names
        if not (DOCS / name).exists() or (DOCS / name).read_bytes() != (fresh / name).read_bytes()
    ]


def main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        reference.write(DOCS)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        reference.write(Path(folder))
        names = stale(Path(folder))
    for name in names:
        print(f"docs/{name} is not what the settings say: run `make docs`", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
