"""The house rules that no tool has, one test each; knows the shape of the code and nothing of what it does.

An exception to a rule stands in the rule's own table with its reason. An exception that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mcp_sidecar"
TESTS = ROOT / "tests"

Place = tuple[str, int]
"""A file, relative to the package or to the repository, and a line."""


def _sources(folder: Path) -> dict[str, ast.Module]:
    """Every module of ours below `folder`, by its path relative to it. The generated code is not ours."""
    paths = [path for path in sorted(folder.rglob("*.py")) if path.relative_to(folder).parts[0] != "v1"]
    return {str(path.relative_to(folder)): ast.parse(path.read_text(), str(path)) for path in paths}


@pytest.fixture(scope="module")
def package() -> dict[str, ast.Module]:
    return _sources(PACKAGE)


def _found(modules: Mapping[str, ast.Module], is_it: Callable[[ast.AST], bool]) -> list[Place]:
    return [(name, node.lineno) for name, tree in modules.items() for node in ast.walk(tree) if is_it(node)]  # type: ignore[attr-defined]


def _assert_only(found: list[Place], allowed: Mapping[str, str], rule: str) -> None:
    """Every place is in a file or folder of `allowed` (which maps it to a reason), and every entry is needed."""
    used: set[str] = set()
    offenders = []
    for name, line in found:
        entry = next(
            (entry for entry in allowed if name == entry or (entry.endswith("/") and name.startswith(entry))), None
        )
        if entry is None:
            offenders.append(f"{name}:{line}")
        else:
            used.add(entry)
    assert not offenders, f"{rule}: {', '.join(offenders)}"
    assert used == set(allowed), f"no longer needed: {sorted(set(allowed) - used)}"


def _dotted(node: ast.AST) -> str:
    """`time.time` for the expression time.time, and nothing for what is not a chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)):
        return f"{head}.{node.attr}"
    return ""


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The absolute names of the modules that are imported anywhere in `tree`, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _importing(modules: Mapping[str, ast.Module], *names: str) -> list[Place]:
    found = {
        (path, line)
        for path, tree in modules.items()
        for module, line in _imports(tree)
        if any(module == name or module.startswith(f"{name}.") for name in names)
    }
    return sorted(found)


def test_every_task_is_made_in_a_task_group_that_was_handed_in(package: dict[str, ast.Module]) -> None:
    orphans = {
        "asyncio.create_task",
        "asyncio.ensure_future",
        "asyncio.get_event_loop",
        "asyncio.run_coroutine_threadsafe",
    }
    found = _found(package, lambda node: isinstance(node, ast.Attribute) and _dotted(node) in orphans)
    found += [place for name in orphans for place in _importing(package, name)]
    found += _found(
        package, lambda node: isinstance(node, ast.Attribute) and _dotted(node).endswith("loop.create_task")
    )
    _assert_only(found, {}, "a task without a parent")


def test_every_task_has_a_name(package: dict[str, ast.Module]) -> None:
    def nameless(node: ast.AST) -> bool:
        is_task = (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create_task"
        )
        return is_task and not any(keyword.arg == "name" for keyword in node.keywords)  # type: ignore[attr-defined]

    _assert_only(_found(package, nameless), {}, "a task without a name")


def test_deadlines_are_points_on_the_monotonic_clock(package: dict[str, ast.Module]) -> None:
    wall_clock = {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow"}
    found = _found(package, lambda node: isinstance(node, ast.Attribute) and _dotted(node) in wall_clock)
    allowed = {
        "admin/": "shows people when something was",
        "cli/": "shows people how long ago something was",
        "inbound/auth/": "tokens say in wall-clock time when they end",
        "logs.py": "a line of the log has a date",
        "outbound/connection.py": "users are shown since when",
        "outbound/pool.py": "users are shown since when",
        "outbound/probe.py": "users are shown when a server's era was found out",
        "inbound/metrics.py": "an exemplar has a date",
        "telemetry/": "what a collector is sent has dates",
    }
    _assert_only(found, allowed, "wall-clock time jumps; use time.monotonic or a Deadline")


def test_the_environment_is_read_in_config_and_on_the_command_line_only(package: dict[str, ast.Module]) -> None:
    environment = {"os.environ", "os.getenv", "os.environb"}
    found = _found(package, lambda node: isinstance(node, ast.Attribute) and _dotted(node) in environment)
    allowed = {
        "cli/": "hands it to config, and reads the client's address",
        "kube/access.py": "hands it to kubernetes.aio: kubelets say there where the API server is",
    }
    _assert_only(found, allowed, "take a setting instead")


def test_no_module_is_named_after_having_no_subject(package: dict[str, ast.Module]) -> None:
    found = [
        (name, 1)
        for name in package
        if {"utils", "util", "common", "misc", "helpers"} & set(Path(name).with_suffix("").parts)
    ]
    _assert_only(found, {}, "name it after what it does")


def test_classes_are_named_after_what_they_own(package: dict[str, ast.Module]) -> None:
    empty = re.compile(r"(Manager|Helper|Util|Utils|Handler|Base|Impl|Factory)$")
    found = _found(package, lambda node: isinstance(node, ast.ClassDef) and bool(empty.search(node.name)))
    _assert_only(found, {}, "a name that says nothing")


def test_every_module_says_what_it_does(package: dict[str, ast.Module]) -> None:
    found = [(name, 1) for name, tree in package.items() if not ast.get_docstring(tree)]
    _assert_only(found, {}, "no docstring")


@pytest.mark.parametrize("folder", ["mcp_sidecar", "tests", "hack", "bench"])
def test_files_end_before_line_400(folder: str) -> None:
    long = [str(path) for path in _ours(folder) if len(path.read_text().splitlines()) > 400]
    assert not long, f"split: {long}"


@pytest.mark.parametrize("folder", ["mcp_sidecar", "hack"])
def test_functions_end_after_40_lines(folder: str) -> None:
    def long(node: ast.AST) -> bool:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        doc = node.body[0] if ast.get_docstring(node) else None
        prose = (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
        return (node.end_lineno or 0) - node.lineno + 1 - prose > 40

    _assert_only(_found(_sources(ROOT / folder), long), {}, "split")


def test_what_nobody_can_name_is_caught_only_at_boundaries(package: dict[str, ast.Module]) -> None:
    def broad(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        caught = {_dotted(kind) if kind else "BaseException" for kind in kinds}
        reraises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
        return bool(caught & {"Exception", "BaseException"}) and not reraises

    allowed = {
        "app.py": "the last line of defence of the process: logged, exit code 1",
        "cli/__init__.py": "no traceback ever reaches a user",
        "inbound/chain.py": "the boundary of one call",
        "telemetry/delivery.py": "a thread's boundary: the batch is lost and counted, and the reason goes into the log",
        "wire/server_connection.py": "a fault of a handler is reported, answered 500, and ends no other connection",
        "inbound/grpc/conversation.py": "the RPC boundary of one request on a stream",
        "discovery/feed.py": "a source that breaks is logged and run again; it must not end calls to what it found",
        "tasks.py": "kept for whoever asks for the result",
        "outbound/flights.py": "a failure belongs to those who wait for the outcome, not to the task group",
    }
    _assert_only(_found(package, broad), allowed, "catch what you can name")


def test_only_the_command_line_and_the_demo_print(package: dict[str, ast.Module]) -> None:
    found = _found(package, lambda node: isinstance(node, ast.Call) and _dotted(node.func) == "print")
    found += _found(
        package, lambda node: isinstance(node, ast.Attribute) and _dotted(node) in {"sys.stdout", "sys.stderr"}
    )
    allowed = {"app.py": "where the log goes", "cli/": "speaks to people", "demo/": "speaks to people"}
    _assert_only(found, allowed, "log instead")


def test_grpc_is_seen_only_by_the_grpc_face_the_grpc_link_and_the_client(package: dict[str, ast.Module]) -> None:
    found = _importing(package, "grpc", "grpc_health", "grpc_status", "grpc_reflection")
    allowed = {
        "client/": "speaks our API",
        "inbound/grpc/": "serves our API",
        "outbound/grpc.py": "calls another sidecar's API",
        "telemetry/wires.py": "calls collectors",
    }
    _assert_only(found, allowed, "grpc stays at the edge")


def test_yaml_is_read_in_config_only(package: dict[str, ast.Module]) -> None:
    allowed = {
        "config/": "the configuration file",
        "injection/": "manifests",
        "kube/access.py": "what the client of a kubeconfig raises",
    }
    _assert_only(_importing(package, "yaml"), allowed, "take settings instead")


def test_the_serving_process_never_imports_the_sdk_or_a_framework(package: dict[str, ast.Module]) -> None:
    found = _importing(package, "mcp", "pydantic", "httpx", "requests", "aiohttp", "uvicorn", "starlette", "anyio")
    allowed = {
        "sdk.py": "runs in the agent's process",
        "kube/access.py": "the transport of kubernetes.aio, loaded in discovery.mode namespace only",
    }
    _assert_only(found, allowed, "too big and too forgiving for the data path")


def test_nothing_is_mocked() -> None:
    tests = _sources(TESTS)
    found = _importing(tests, "unittest.mock", "pytest_mock")
    found += _found(tests, lambda node: isinstance(node, ast.arg) and node.arg == "mocker")
    _assert_only(found, {}, "use the real part or a fake")


def test_names_of_tests_are_sentences() -> None:
    def mute(node: ast.AST) -> bool:
        is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        return is_test and node.name.count("_") < 3  # type: ignore[attr-defined]

    _assert_only(_found(_sources(TESTS), mute), {}, "say what is true when the test passes")


def _ours(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "v1" not in path.parts]
