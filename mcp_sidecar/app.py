"""Builds the parts, joins them, runs them, drains them. Read it first: the process's whole life is `serve`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mcp_sidecar import __version__, priority
from mcp_sidecar.admin.overheard import Overheard
from mcp_sidecar.admin.pages import ADMIN_RPCS, Admin
from mcp_sidecar.admin.recent import Recent
from mcp_sidecar.config.forms import is_local_listener
from mcp_sidecar.directory import Directory, configured
from mcp_sidecar.drain import Drain, Plan, plan
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.engine.hold import Hold
from mcp_sidecar.inbound.faces import OFF, Faces
from mcp_sidecar.inbound.grpc.servers import RPCS
from mcp_sidecar.inbound.grpc.wakeups import Loop
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.http.legacy import SESSION_METHODS
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.parts import Parts, no_pages
from mcp_sidecar.inbound.process import watch_process
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.logs import Log, Writer
from mcp_sidecar.outbound.connection import Row, State
from mcp_sidecar.outbound.credentials import Credentials
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.monitor import Monitor
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.outbound.probe import Prober
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.protocol.eras import LEGACY_METHODS, MODERN_METHODS
from mcp_sidecar.settings import Settings

_LISTENERS = "listeners"
_TICK_SECONDS = 1.0
Bound = dict[str, str | list[str]]


def run(settings: Settings, *, ready_file: Path | None = None, pod_grace: float | None = None) -> int:
    """Serve until a signal says stop; the process's exit code.

    `ready_file` is written once every port is bound (JSON, listener to `host:port`); `pod_grace` is the pod's
    termination grace period in seconds.
    """
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        priority.start_helpers()  # the log's thread and those of gRPC
        writer = Writer(sys.stdout.fileno(), loop.call_later)
        text = settings.log.format == "text" or (settings.log.format == "auto" and sys.stdout.isatty())
        log = Log(writer, settings.log.level, text=text, dropped=lambda: writer.dropped, later=loop.call_later)
        try:
            runner.run(_main(settings, log, writer.flush, ready_file, pod_grace))
            return 0
        except Exception as failure:  # noqa: BLE001  # the last line of defence of the process
            _report(log, failure)
            return 1
        finally:
            log.settle()
            writer.close()


async def _main(
    settings: Settings, log: Log, flush: Callable[[], None], ready_file: Path | None, pod_grace: float | None
) -> None:
    stop = _on_signals(log, flush)

    def started(bound: Bound) -> None:
        priority.end_helpers()
        gc.collect()
        gc.freeze()  # what exists now lives for ever; collections need not look at it again
        # A call makes hundreds of objects and no cycles: collecting every 700 allocations is work for nothing.
        gc.set_threshold(20_000, 20, 20)
        if ready_file is not None:
            _write_ready(ready_file, bound)

    await serve(settings, log, stop, started, pod_grace=pod_grace)


async def serve(
    settings: Settings,
    log: Log,
    stop: asyncio.Event,
    started: Callable[[Bound], None],
    *,
    pod_grace: float | None = None,
) -> None:
    """The life of a sidecar, until `stop` is set and everything is drained.

    `started` is called with the bound addresses once every listener accepts. Raises `OSError` when a port is taken;
    a part that dies ends all others (an `ExceptionGroup`).
    """
    lifecycle = Lifecycle((_LISTENERS,))
    steps = plan(settings.drain, pod_grace)
    async with asyncio.TaskGroup() as tasks:
        parts = _build(settings, lifecycle, steps, log, tasks)
        faces = Faces(settings, parts)
        bound = await faces.bind()
        running = [
            tasks.create_task(parts.dialer.pool.run(), name="pool"),
            tasks.create_task(Monitor(settings.monitor, parts.dialer.pool, tasks).run(), name="monitor"),
            tasks.create_task(_tick(parts.board), name="tick"),
        ]
        await faces.start()
        log.info("listening", **bound)
        lifecycle.release(_LISTENERS)
        started(bound)
        if settings.start.warm:
            running.append(tasks.create_task(parts.engine.offers.warm(), name="warm-up"))
        await stop.wait()
        log.info("draining", lame_duck=steps.lame_duck, grace=steps.grace, in_flight=lifecycle.in_flight)
        await parts.drain.begin()
        await _close(parts, faces, steps)
        for task in running:
            task.cancel()
    log.settle()
    log.info("stopped")


def _build(settings: Settings, lifecycle: Lifecycle, steps: Plan, log: Log, tasks: asyncio.TaskGroup) -> Parts:
    """Everything but the listeners, joined."""
    directory = Directory(tuple(configured(one) for one in settings.upstreams))
    pool = Pool(settings.pool, tasks)
    pool.watch(lambda row: _note(log, row))
    dialer = Dialer(pool, Prober(tasks), Credentials(), Ways(tasks, log))
    hold = Hold(settings.hold, tasks)
    admin = _admin(settings)
    if admin is not None:
        pool.watch(admin.recent.heed)
    kind = Overheard if admin is not None and settings.admin.payloads else Engine
    engine = kind(directory, dialer, lifecycle, settings.admission, settings.retry, hold, tasks, settings.merge)
    engine.offers.mirrors.watch(
        lambda server, tool, why: log.warning("dropped", server=server, tool=tool[:128], why=why)
    )
    return Parts(
        engine=engine,
        dialer=dialer,
        directory=directory,
        lifecycle=lifecycle,
        drain=Drain(lifecycle, steps, tasks),
        board=HealthBoard(lifecycle, upstreams=lambda: _up(directory, dialer)),
        metrics=_metrics(lifecycle, pool, log),
        log=log,
        tasks=tasks,
        tell=None if admin is None else admin.recent.tell,
        pages=no_pages
        if admin is None
        else lambda door: admin.pages(door, directory=directory, dialer=dialer, lifecycle=lifecycle, engine=engine),
    )


def _admin(settings: Settings) -> Admin | None:
    """The admin page, if it and a listener for it are wanted."""
    if not settings.admin.enabled or settings.listen.http == OFF:
        return None
    exposed = settings.auth.mode == "none" and not is_local_listener(settings.listen.http)
    return Admin(settings.admin, __version__, Recent(), exposed=exposed)


async def _close(parts: Parts, faces: Faces, steps: Plan) -> None:
    """What comes after the drain: calls that outlast it are told, then listeners and connections end."""
    parts.log.info("stopping", in_flight=parts.lifecycle.in_flight)
    await _end_calls(parts.engine, parts.lifecycle, steps.closing / 4)
    await faces.stop(steps.closing / 2)
    parts.engine.offers.close()
    await parts.dialer.shut()
    parts.lifecycle.advance(Phase.STOPPED)


async def _end_calls(engine: Engine, lifecycle: Lifecycle, seconds: float) -> None:
    """Give every call that still runs its status while there are listeners to tell it."""
    engine.cut()
    try:
        async with asyncio.timeout(seconds):
            await lifecycle.quiet()
    except TimeoutError:
        pass  # the listeners cut off who is stuck


def _up(directory: Directory, dialer: Dialer) -> Mapping[str, bool]:
    """Which upstreams answer; one that nobody called yet counts as up."""
    return {name: dialer.health(name).up is not False for name in directory.snapshot}


def _note(log: Log, row: Row) -> None:
    """A line for a change of a connection; what breaks is worth more than what comes and goes."""
    tell = log.warning if row.state is State.DISCONNECTED else log.debug
    tell(
        "connection",
        id=row.id,
        server=row.server,
        state=row.state.value,
        endpoint=row.endpoint,
        error=row.last_error,
    )


def _metrics(lifecycle: Lifecycle, pool: Pool, log: Log) -> Metrics:
    metrics = Metrics(rpcs=RPCS | ADMIN_RPCS, methods=MODERN_METHODS | LEGACY_METHODS | SESSION_METHODS)
    watch_process(metrics)
    metrics.gauge("mcp_sidecar_inflight", lambda: float(lifecycle.in_flight))
    metrics.gauge("mcp_sidecar_log_lines_dropped", lambda: float(log.dropped()))
    metrics.gauge("mcp_sidecar_connections", lambda: float(len(pool.connections())))
    return metrics


async def _tick(board: HealthBoard) -> None:
    """Prove that the event loop comes round."""
    while True:
        board.tick()
        await asyncio.sleep(_TICK_SECONDS)


def _on_signals(log: Log, flush: Callable[[], None]) -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process on the spot."""
    stop = asyncio.Event()

    def heard(name: str) -> None:
        if stop.is_set():
            log.settle()
            log.warning("leaving", reason=f"second signal, {name}")
            flush()
            time.sleep(0.05)  # the log's thread gets its chance; nothing else matters any more
            os._exit(1)
        log.info("signal", signal=name)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number.name)
    return stop


def _write_ready(ready_file: Path, bound: Bound) -> None:
    # Renamed into place: whoever sees the file sees all of it.
    partial = ready_file.with_name(ready_file.name + ".partial")
    partial.write_bytes(msgspec.json.encode(bound))
    partial.replace(ready_file)


def _report(log: Log, failure: BaseException) -> None:
    if isinstance(failure, BaseExceptionGroup):
        for part in failure.exceptions:
            _report(log, part)
    elif isinstance(failure, OSError):
        log.error("failed", error=str(failure))  # a port that is taken, mostly: the words are enough
    else:
        log.error(
            "failed", error=f"{type(failure).__name__}: {failure}", stack="".join(traceback.format_exception(failure))
        )
