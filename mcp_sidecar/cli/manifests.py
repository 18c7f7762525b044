"""Reads manifests, has them changed, writes them with a word about each workload; knows not what is changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mcp_sidecar.cli.arguments import Parser
from mcp_sidecar.cli.failures import CONFIGURATION, USAGE, CommandFailed
from mcp_sidecar.cli.tables import plain
from mcp_sidecar.injection.manifest import Result, Unreadable

_STDIN: Final = "-"
_MOST_BYTES: Final = 64 * 1024 * 1024


def add_files(parser: Parser) -> None:
    """`-f FILE`."""
    parser.add_argument(
        "-f",
        "--filename",
        metavar="FILE",
        action="append",
        help="manifests in YAML or JSON, - for standard input (default); may be repeated",
    )


def rewrite(files: list[str] | None, change: Callable[[str], Result]) -> int:
    """Write all manifests to standard output, changed; or nothing at all when one of them cannot be."""
    if files is None and sys.stdin.isatty():
        raise CommandFailed("nothing to read: name a file with -f, or pipe manifests in", code=USAGE)
    texts = [_changed(file, change) for file in files or [_STDIN]]
    sys.stdout.buffer.write(_joined(texts).encode())
    return 0


def _changed(file: str, change: Callable[[str], Result]) -> str:
    title = "standard input" if file == _STDIN else file
    try:
        result = change(_read(file, title))
    except Unreadable as bad:
        place = f"{title}: document {bad.document}, line {bad.line}"
        raise CommandFailed(f"{place}: {plain(str(bad))}", code=CONFIGURATION) from bad
    for note in result.notes:
        print(f"{plain(note.title)}: {plain(note.text)}", file=sys.stderr)
    return result.text


def _read(file: str, title: str) -> str:
    """The bytes as they are, line ends too."""
    if file == _STDIN:
        contents = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with Path(file).open("rb") as opened:
            contents = opened.read(_MOST_BYTES + 1)
    if len(contents) > _MOST_BYTES:
        raise CommandFailed(f"{title}: larger than {_MOST_BYTES >> 20} MiB", code=CONFIGURATION)
    try:
        return contents.decode()
    except UnicodeDecodeError as bad:
        raise CommandFailed(f"{title}: not UTF-8 text (byte {bad.start})", code=CONFIGURATION) from bad


def _joined(texts: list[str]) -> str:
    """One stream of documents; a single text stays as it is."""
    joined = texts[0]
    for text in texts[1:]:
        joined += ("" if not joined or joined.endswith("\n") else "\n") + "---\n" + text.removeprefix("\ufeff")
    return joined
