"""Text of manifests in, the same text with or without sidecars out; knows neither files nor a cluster.

Every decision is made on the data of a document. The text is changed in place, read again, and compared with the data
that was meant: what comes out is right, or there is an error that says where and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_sidecar.injection import pods
from mcp_sidecar.injection.edits import Edit, Editor, NotEditable, edited
from mcp_sidecar.injection.operations import Operation, Path, apply, below
from mcp_sidecar.injection.source import Node, NotYaml, documents, plain_data
from mcp_sidecar.injection.template import NATIVE, Options
from mcp_sidecar.injection.vocabulary import CONTAINER, POD_LABEL, SYSTEM_NAMESPACES
from mcp_sidecar.injection.workloads import Workload, workloads

WAY: Final = "cli"
_BYTE_ORDER_MARK: Final = "\ufeff"
_ENDLESS: Final = ("Job", "CronJob")
"""Kinds whose pods are to end by themselves."""


class Unreadable(ValueError):
    """Nothing was done, because of what stands in this document at this line; both are counted from 1."""

    def __init__(self, document: int, line: int, message: str) -> None:
        super().__init__(message)
        self.document = document
        self.line = line


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one workload."""

    document: int
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    text: str
    notes: list[Note]


_Decide = Callable[[Workload, Mapping[str, Any]], tuple[list[Operation], str]]
"""What to do with a pod, and a word about it (empty: nothing to say)."""


def inject(text: str, options: Options, wishes: Mapping[str, str]) -> Result:
    """Add sidecars; `wishes` are annotations, by name, for pods that have them not. Raises Unreadable."""

    def decide(workload: Workload, pod: Mapping[str, Any]) -> tuple[list[Operation], str]:
        if (reason := _why_not(workload, pod)) is not None:
            return [], f"left alone: {reason}"
        for bad in pods.bad_annotations(pod):
            raise bad
        operations = pods.injection(pod, options, WAY, wishes)
        if workload.kind in _ENDLESS and options.mode != NATIVE:
            return operations, f"injected, but it will not end: only a native sidecar lets a {workload.kind} complete"
        return operations, "injected"

    return _changed(text, decide)


def uninject(text: str) -> Result:
    """Take sidecars away that were injected. Raises Unreadable."""

    def decide(_workload: Workload, pod: Mapping[str, Any]) -> tuple[list[Operation], str]:
        operations = pods.removal(pod)
        if not operations and pods.why_not(pod) == f"it has a container called {CONTAINER}":
            return [], f"left alone: its container {CONTAINER} was not injected"
        return operations, "uninjected" if operations else ""

    return _changed(text, decide)


def _why_not(workload: Workload, pod: Mapping[str, Any]) -> str | None:
    if workload.namespace in SYSTEM_NAMESPACES:
        return f"nothing is injected in {workload.namespace}"
    if str(workload.labels.get(POD_LABEL)).lower() == "false":
        return f'it has the label {POD_LABEL}: "false"'
    return pods.why_not(pod)


def _changed(text: str, decide: _Decide) -> Result:
    mark = _BYTE_ORDER_MARK if text.startswith(_BYTE_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    editor, edits, notes, meant = Editor(text), list[Edit](), list[Note](), list[Any]()
    for number, root, data in _read(text):
        wanted: list[Operation] = []
        for workload in workloads(data):
            operations, word = _operations(number, root, data, workload, decide)
            wanted += operations
            notes += [Note(number, workload.title, word)] if word else []
        if root is not None:
            edits += _edits(editor, number, root, wanted)
        meant.append(apply(data, wanted))
    result = edited(text, edits)
    if edits:
        _compare(result, meant)
    return Result(mark + result, notes)


def _read(text: str) -> Iterator[tuple[int, Node | None, Any]]:
    """The number of each document, its tree and its data. Raises Unreadable."""
    number = 1
    try:
        for root in documents(text):
            yield number, root, plain_data(root)
            number += 1
    except NotYaml as bad:
        raise Unreadable(number, bad.line, str(bad)) from bad


def _operations(
    number: int, root: Node | None, data: Any, workload: Workload, decide: _Decide
) -> tuple[list[Operation], str]:
    """What to do in the document. Raises Unreadable."""
    path = workload.path + workload.pod_path
    try:
        pod = _pod(data, workload)
        pods.check(pod)
        operations, word = decide(workload, pod)
    except pods.NotAPod as bad:
        raise Unreadable(number, _line(root, path + bad.path), f"{workload.title}: {_dotted(path, bad)}") from bad
    return below(path, operations), word


def _pod(data: Any, workload: Workload) -> Mapping[str, Any]:
    found: Any = data
    for key in workload.path:
        found = found[key]
    for depth, key in enumerate(workload.pod_path, 1):
        found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise pods.NotAPod(workload.pod_path[:depth], "a mapping")
    return found  # type: ignore[no-any-return]


def _dotted(path: Path, bad: pods.NotAPod) -> str:
    return ".".join([*map(str, path), str(bad)]) if path else str(bad)


def _line(root: Node | None, path: Path) -> int:
    """The line of the nearest thing on the way to what the path names."""
    line = 1
    for key in path:
        if root is None:
            break
        line = root.line
        entry = root.entry(key)
        in_list = root.kind == "list" and isinstance(key, int) and key < len(root.items)
        root = root.items[int(key)] if in_list else entry[1] if entry else None
    return root.line if root is not None else line


def _edits(editor: Editor, number: int, root: Node, operations: list[Operation]) -> list[Edit]:
    try:
        return editor.edits(root, operations)
    except NotEditable as bad:
        raise Unreadable(number, bad.line, str(bad)) from bad


def _compare(text: str, meant: list[Any]) -> None:
    """The text says what was meant. Raises Unreadable."""
    try:
        found = [data for _, _, data in _read(text)]
    except Unreadable:
        found = []
    for number, data in enumerate(meant, 1):
        if found[number - 1 : number] != [data]:
            why = "this document is written in a way that cannot be changed in place; write it as `kubectl` would"
            raise Unreadable(number, 1, why)
