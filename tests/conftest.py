"""Runs `async def` tests and fails those that leave something behind; knows no part of the sidecar.

Every async test gets an event loop of its own, of the kind that serves in production (uvloop). After the test nothing
may be left: no task, no socket, no fault reported to the loop, no child process. Async fixtures are not supported: a
test opens what it needs with `async with`, so that what it owns can be read in the test itself; a fixture may hand out
a factory.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import signal
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

# Read once, when grpc is imported: its log lines would drown the output, its fork handlers would slow every child.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc.aio
import hypothesis
import pytest
import uvloop

if Path(__file__).with_name("support").joinpath("fixtures.py").exists():
    pytest_plugins = ["tests.support.fixtures"]

# A slow machine is no failure: time is bounded per test (pytest-timeout), not per example. CI runs the same examples
# each time, so that it judges the change and not its luck; any other run tries examples that nobody tried before.
hypothesis.settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("here")

_TURNS = 50  # of the loop, about 2 ms each: what was cancelled or closed needs some of them to be gone

AsyncTest = Callable[[], Coroutine[Any, Any, None]]


def pytest_collection_finish() -> None:
    """Take what the imports made out of the collections that follow every test: they cost a tenth then."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test when it is a coroutine function, also below `hypothesis.given`."""
    property_test = getattr(pyfuncitem.obj, "hypothesis", None)
    if property_test is not None:
        if inspect.iscoroutinefunction(property_test.inner_test):
            property_test.inner_test = _each_example(property_test.inner_test)
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    for name, value in arguments.items():
        if inspect.iscoroutine(value) or inspect.isasyncgen(value):
            pytest.fail(f"{name} is an async fixture; open what the test needs with `async with` (tests/conftest.py)")
    # What outlived the tests before is not looked at again after each that follows: it would cost half of the time.
    gc.collect()
    gc.freeze()
    _run(functools.partial(pyfuncitem.obj, **arguments))
    return True


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Fail a test after which a process is alive, or dead and not waited for, that was not there before.

    Processes of session and module fixtures start before this fixture and are theirs to end.
    """
    before = _children()
    yield
    left = _children() - before
    if left:
        commands = sorted(_command(pid) for pid in left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f"child processes left (now killed): {commands}", pytrace=False)


def _each_example(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The same test as a plain function: hypothesis calls it once for every example, each in its own loop."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        _run(
            functools.partial(test, *args, **kwargs), generation=1
        )  # a full collection takes longer than most examples

    return run


def _run(test: AsyncTest, generation: int = 2) -> None:
    faults: list[dict[str, Any]] = []
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    # Recorded, because a warning that is raised while uvloop closes what is left makes it wait forever.
    with warnings.catch_warnings(record=True) as unclosed, contextlib.ExitStack() as closing:
        warnings.simplefilter("always")
        closing.callback(runner.close)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runner.get_loop().set_exception_handler(lambda _, context: faults.append(context))
            left = runner.run(_watched(test))
            gc.collect(generation)  # the loop hears of an exception nobody retrieved when its task is collected
    left += [str(warning.message) for warning in unclosed]
    faults = [fault for fault in faults if not _is_of_a_closed_loop(fault)]
    if faults:
        causes = [fault["exception"] for fault in faults if isinstance(fault.get("exception"), Exception)]
        raise ExceptionGroup("; ".join(str(fault.get("message")) for fault in faults), causes or [RuntimeError()])
    if left:
        pytest.fail("left behind by the test:\n  " + "\n  ".join(left), pytrace=False)


def _is_of_a_closed_loop(fault: dict[str, Any]) -> bool:
    """The poller of grpc.aio, one for all loops of a process, hands what comes late for a test before to this one."""
    closed = isinstance(error := fault.get("exception"), RuntimeError) and str(error) == "Event loop is closed"
    return closed and "PollerCompletionQueue" in str(fault.get("message"))


async def _watched(test: AsyncTest) -> list[str]:
    """Run the test, give what it ended a moment to be gone, and return a line for everything that is not."""
    # gRPC's poller keeps a socket pair for every loop it is used in: it is there before the count begins.
    grpc.aio.init_grpc_aio()
    before = _sockets()
    await test()
    left: list[str] = []
    for _ in range(_TURNS):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        left = [repr(task) for task in tasks] + [f"socket {_peer(fd)}" for fd in sorted(_sockets() - before)]
        if not left:
            break
        await asyncio.sleep(0.002)
    return left


def _sockets() -> set[tuple[int, str]]:
    """The open sockets of this process as (file descriptor, `socket:[inode]`); none known where there is no /proc."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # closed meanwhile, such as the directory that is being listed
        if target.startswith("socket:"):
            found.add((int(entry.name), target))
    return found


def _peer(fd: tuple[int, str]) -> str:
    """`fd` for people: its inode leads to the line in /proc/net/tcp that shows both ends."""
    inode = fd[1].removeprefix("socket:[").rstrip("]")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] == inode:
            local, remote = (int(address.split(":")[1], 16) for address in fields[1:3])
            return f"port {local} to {remote}" if remote else f"listening on {local}"
    return f"{fd[1]} (not IPv4)"


def _children() -> set[int]:
    found: set[int] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found |= {int(pid) for pid in children.read_text().split()}
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return f"{pid} {words or '(a zombie)'}"
