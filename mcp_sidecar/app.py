"""Builds the parts, joins them, runs them, drains them. Read it first: the process's whole life is `serve`."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mcp_sidecar import __version__, priority
from mcp_sidecar.admin.overheard import Overheard
from mcp_sidecar.admin.pages import ADMIN_RPCS, Admin
from mcp_sidecar.admin.recent import Recent
from mcp_sidecar.config.forms import is_local_listener
from mcp_sidecar.directory import Directory, configured
from mcp_sidecar.discovery.dns import DnsSource, to_resolve
from mcp_sidecar.discovery.feed import Feed
from mcp_sidecar.discovery.source import Source
from mcp_sidecar.drain import Drain, Plan, plan
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.engine.hold import Hold
from mcp_sidecar.engine.required import Required
from mcp_sidecar.inbound.auth import Authenticator
from mcp_sidecar.inbound.chain import CallLine, Entry, Tell
from mcp_sidecar.inbound.faces import OFF, Faces
from mcp_sidecar.inbound.gauges import watch
from mcp_sidecar.inbound.grpc.servers import RPCS
from mcp_sidecar.inbound.grpc.wakeups import Loop
from mcp_sidecar.inbound.health import HealthBoard
from mcp_sidecar.inbound.http.door import Door
from mcp_sidecar.inbound.http.legacy import SESSION_METHODS
from mcp_sidecar.inbound.http.server import Page
from mcp_sidecar.inbound.instruments import LOOP_LAG
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.inbound.outward import complaints, follow, observe
from mcp_sidecar.inbound.parts import Parts
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.logs import Log, Writer
from mcp_sidecar.outbound.connection import Row, State
from mcp_sidecar.outbound.credentials import Credentials
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.monitor import Monitor
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.outbound.probe import Prober
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.protocol.baggage import Allowed
from mcp_sidecar.protocol.eras import LEGACY_METHODS, MODERN_METHODS
from mcp_sidecar.settings import Settings

if TYPE_CHECKING:
    from mcp_sidecar.telemetry.export import Export

_LISTENERS, _DISCOVERY, _REQUIRED = "listeners", "discovery", "required servers"
_FIRST_DISCOVERY_SECONDS = 10.0  # an API server or a resolver that does not answer must not hold up the start
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
    source: Source | None = None,
) -> None:
    """The life of a sidecar, until `stop` is set and everything is drained.

    `started` is called with the bound addresses once every listener accepts. A `source` takes the place of the one that
    `discovery.mode` says. Raises `OSError` when a port is taken; a part that dies ends all others (an
    `ExceptionGroup`).
    """
    lifecycle = Lifecycle(_latches(settings, source))
    steps = plan(settings.drain, pod_grace, telemetry=bool(settings.telemetry.endpoints))
    async with asyncio.TaskGroup() as tasks:
        metrics = Metrics(rpcs=RPCS | ADMIN_RPCS, methods=MODERN_METHODS | LEGACY_METHODS | SESSION_METHODS)
        export = _export(settings, metrics, log)
        parts = _build(settings, lifecycle, steps, metrics, log, tasks, export, settled=source is None)
        faces = Faces(settings, _with_admin(settings, parts))
        bound = await faces.bind()
        running = _background(settings, parts, export)
        await faces.start()
        log.info("listening", **bound)
        running.append(tasks.create_task(_start(settings, parts, _feed(settings, parts, source)), name="start"))
        lifecycle.release(_LISTENERS)
        started(bound)
        await stop.wait()
        await parts.drain.begin()
        await _close(parts, faces, steps)
        for task in running:
            task.cancel()
        log.settle()
        if export is not None:
            await export.close(steps.telemetry)
    log.settle()
    log.info("stopped")


def _background(settings: Settings, parts: Parts, export: Export | None) -> list[asyncio.Task[None]]:
    """What goes on as long as the sidecar serves."""
    pool, tasks = parts.dialer.pool, parts.tasks
    running = [
        tasks.create_task(pool.run(), name="pool"),
        tasks.create_task(Monitor(settings.monitor, pool, tasks).run(), name="monitor"),
        tasks.create_task(_tick(parts.board, parts.metrics), name="tick"),
    ]
    if export is not None:
        running.append(tasks.create_task(export.run(), name="telemetry"))
    return running


def _export(settings: Settings, metrics: Metrics, log: Log) -> Export | None:
    """What leaves for a collector, if there is one: nothing of the SDK is imported where there is none."""
    if not settings.telemetry.endpoints:
        return None
    from mcp_sidecar.telemetry.export import Export

    priority.start_helpers()
    try:
        return Export(settings.telemetry, metrics, log)
    finally:
        priority.end_helpers()


def _latches(settings: Settings, source: Source | None) -> tuple[str, ...]:
    """What `startup` waits for."""
    discovering = source is not None or settings.discovery.mode != "off"
    return _LISTENERS, *([_DISCOVERY] if discovering else []), *([_REQUIRED] if settings.start.require else [])


def _feed(settings: Settings, parts: Parts, source: Source | None) -> Feed | None:
    """What keeps the directory up to date; None when nothing has to be found."""
    mode = settings.discovery.mode
    if source is None and mode == "dns":
        _, names = to_resolve(tuple(configured(one) for one in settings.upstreams))
        source = DnsSource(names, settings.discovery.interval, parts.log)
        parts.dialer.watch(source.hurry)
    elif source is None and mode == "namespace":
        # Only here: the client of the Kubernetes API is large, and most sidecars do without.
        from mcp_sidecar.kube.discovery import KubeSource

        source = KubeSource(settings.discovery, parts.log)
    if source is None:
        return None
    follow(source.pulse, parts.metrics)
    return Feed(source, parts.directory, settings.discovery.auth, parts.log)


async def _start(settings: Settings, parts: Parts, feed: Feed | None) -> None:
    """Release the latches that wait for others, then look after what others have to tell."""
    async with asyncio.TaskGroup() as tasks:
        if feed is not None:
            tasks.create_task(feed.run(), name="discovery")
            await _first(feed, parts.log)
        parts.lifecycle.release(_DISCOVERY)
        if settings.start.warm:
            tasks.create_task(parts.engine.offers.warm(), name="warm-up")
        await Required(parts.engine, settings.start.require, settings.start.timeout, parts.log).listed()
        parts.lifecycle.release(_REQUIRED)


async def _first(feed: Feed, log: Log) -> None:
    try:
        async with asyncio.timeout(_FIRST_DISCOVERY_SECONDS):
            await feed.known.wait()
    except TimeoutError:
        log.warning("discovery", state="late", why=f"nothing was heard in {_FIRST_DISCOVERY_SECONDS:g} s")


def _build(
    settings: Settings,
    lifecycle: Lifecycle,
    steps: Plan,
    metrics: Metrics,
    log: Log,
    tasks: asyncio.TaskGroup,
    export: Export | None,
    *,
    settled: bool,
) -> Parts:
    """Everything but the listeners, joined. `settled`: nobody but `discovery.mode` finds upstreams."""
    upstreams = tuple(configured(one) for one in settings.upstreams)
    mode = settings.discovery.mode
    if mode == "dns":
        upstreams, _ = to_resolve(upstreams)
    directory = Directory(upstreams, settled=settled and mode in ("off", "dns"))
    pool = Pool(settings.pool, tasks)
    pool.watch(lambda row: _note(log, row))
    credentials = Credentials(complaints("credentials", metrics, log))
    dialer = Dialer(pool, Prober(tasks), credentials, Ways(tasks, log))
    hold, kind = Hold(settings.hold, tasks), Overheard if settings.admin.keeps_payloads else Engine
    engine = kind(directory, dialer, lifecycle, settings.admission, settings.retry, hold, tasks, settings.merge)
    engine.baggage = Allowed(settings.telemetry.baggage)
    observe(engine, dialer, metrics, log, None if export is None else export.sampler)
    watch(metrics, engine, dialer, directory, credentials, log)
    board = HealthBoard(lifecycle, upstreams=lambda: _up(directory, dialer))
    directory.subscribe(lambda _: board.notify())
    return Parts(
        engine=engine,
        dialer=dialer,
        directory=directory,
        lifecycle=lifecycle,
        drain=Drain(lifecycle, steps, tasks, log.info),
        board=board,
        metrics=metrics,
        log=log,
        tasks=tasks,
        tell=None if export is None else export.tell,
        reviewed=lambda audience: _reviewed(audience, settings.discovery.kubeconfig, log, tasks),
    )


def _with_admin(settings: Settings, parts: Parts) -> Parts:
    """The parts with the admin page among them, if it and a listener for it are wanted."""
    if not settings.admin.enabled or settings.listen.http == OFF:
        return parts
    known = settings.auth.mode != "none" or bool(settings.listen.tls.client_ca_file)
    exposed = not known and not is_local_listener(settings.listen.http)
    recent = Recent()
    admin = Admin(settings.admin, __version__, recent, exposed=exposed)
    parts.dialer.pool.watch(recent.heed)
    tell = recent.tell if parts.tell is None else _both(parts.tell, recent.tell)

    def pages(door: Door) -> Mapping[str, Page]:
        return admin.pages(
            door, directory=parts.directory, dialer=parts.dialer, lifecycle=parts.lifecycle, engine=parts.engine
        )

    return dataclasses.replace(parts, tell=tell, pages=pages)


def _both(first: Tell, second: Tell) -> Tell:
    def tell(ended: Sequence[Entry], lines: Sequence[CallLine]) -> None:
        first(ended, lines)
        second(ended, lines)

    return tell


def _reviewed(audience: str, kubeconfig: str, log: Log, tasks: asyncio.TaskGroup) -> Authenticator:
    # Imported where needed: the Kubernetes client is large, and an optional dependency.
    from mcp_sidecar.inbound.auth.service_accounts import ServiceAccounts
    from mcp_sidecar.kube.access import Access
    from mcp_sidecar.kube.review import TokenReviews

    reviews = TokenReviews(Access(kubeconfig), lambda trouble: log.warning("auth", trouble=trouble))
    return ServiceAccounts(audience, reviews, tasks)


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
    """Which upstreams answer; one that nobody called yet counts as up, if there is anybody to be called."""
    return {
        name: bool(upstream.all) and dialer.health(name).up is not False
        for name, upstream in directory.snapshot.items()
    }


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


async def _tick(board: HealthBoard, metrics: Metrics) -> None:
    """Prove that the event loop comes round, and measure how late."""
    lag = 0.0
    metrics.gauge(LOOP_LAG, lambda: lag)
    while True:
        board.tick()
        due = time.monotonic() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        lag = max(0.0, time.monotonic() - due)


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
