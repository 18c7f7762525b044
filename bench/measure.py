"""Throughput and latency, each measure a section; knows what is compared with what, not how that is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers import (
    PROXIES,
    Peer,
    installed,
    start_bare_grpc,
    start_direct,
    start_floor,
    start_proxy,
    start_sidecar,
    start_upstream,
)
from bench.plan import Plan
from bench.processes import Stage
from bench.results import MeasurementFailed, Sample, Section, Verdict, median, ratio
from bench.tools import grpc_load, http_load

HTTP_SHARE = 0.35  # of haproxy or nginx, calls a second
GRPC_SHARE = 0.75  # of a bare grpc.aio server, calls a second
HTTP_LATENCY = 4.0  # times a direct call
GRPC_LATENCY = 8.0  # times a direct call
QUIET = 0.1  # CPUs; what other processes may take before it is worth a note

COLUMNS = ("", "calls/s", "p50 us", "p99 us", "cpu us/call", "wrong")


@dataclass(frozen=True, slots=True)
class LineUp:
    """Who takes part in the throughput and latency measures. All run from start to end and idle between their turns."""

    plan: Plan
    upstream: Peer
    direct: Peer
    floor: Peer
    bare_grpc: Peer
    sidecar: Peer
    proxies: tuple[Peer, ...]
    log: Path

    @classmethod
    def start(cls, plan: Plan, stage: Stage) -> LineUp:
        """Starts everybody on `stage`."""
        upstream = start_upstream(stage)
        return cls(
            plan=plan,
            upstream=upstream,
            direct=start_direct(stage),
            floor=start_floor(stage, upstream),
            bare_grpc=start_bare_grpc(stage),
            sidecar=start_sidecar(stage, plan.sidecar, upstream),
            proxies=tuple(start_proxy(stage, name, upstream) for name in PROXIES if installed(name)),
            log=stage.log("sidecar"),
        )

    def http(self, peer: Peer, connections: int) -> Callable[[], Sample]:
        """A run over HTTP, to be called when it is its turn."""
        plan, pids = self.plan, self._pids(peer)
        return lambda: http_load(
            peer.http, peer.path, connections=connections, seconds=plan.seconds, warm=plan.warm, pids=pids
        )

    def grpc(self, peer: Peer, in_flight: int) -> Callable[[], Sample]:
        """A run over gRPC, to be called when it is its turn."""
        plan, pids = self.plan, self._pids(peer)
        return lambda: grpc_load(peer.grpc, in_flight=in_flight, seconds=plan.seconds, warm=plan.warm, pids=pids)

    def _pids(self, peer: Peer) -> tuple[str, ...]:
        proxy = () if peer is self.upstream else (f"px:{peer.process.pid}",)
        return (f"up:{self.upstream.process.pid}", *proxy)


def measure_http(line_up: LineUp) -> Section:
    """Calls a second from HTTP to HTTP, 16 connections, next to plain reverse proxies."""
    peers = (line_up.direct, line_up.floor, *line_up.proxies, line_up.sidecar)
    written = _lines(line_up.log)
    runs = interleave({peer.name: line_up.http(peer, 16) for peer in peers}, line_up.plan.rounds)
    section = section_of("HTTP in, HTTP out: 16 connections", runs)
    ours = [sample.rate for sample in runs["sidecar"]]
    for proxy in line_up.proxies:
        share = ratio(ours, [sample.rate for sample in runs[proxy.name]])
        section.verdicts.append(Verdict(f"HTTP calls/s, share of {proxy.name}", share, ">=", HTTP_SHARE))
        _note_cpu_share(section, runs, proxy)
    if not line_up.proxies:
        section.verdicts.append(Verdict("HTTP calls/s, share of haproxy or nginx", None, ">=", HTTP_SHARE))
        section.notes.append("nothing to compare with; on Debian: apt-get install haproxy (or nginx)")
    written, calls = _lines(line_up.log) - written, sum(sample.calls for sample in runs["sidecar"])
    if written < calls:
        section.notes.append(f"the sidecar logged {written} lines for {calls} calls: not the figure that was asked for")
    return section


def measure_grpc(line_up: LineUp) -> Section:
    """Calls a second from gRPC to HTTP, 16 in flight on one connection, next to a server that only answers."""
    peers = (line_up.bare_grpc, line_up.sidecar)
    runs = interleave({peer.name: line_up.grpc(peer, 16) for peer in peers}, line_up.plan.rounds)
    section = section_of("gRPC Call in, HTTP out: 16 in flight on one connection", runs)
    bare, ours = ([sample.rate for sample in runs[peer.name]] for peer in peers)
    _note_cpu_share(section, runs, line_up.bare_grpc)
    section.verdicts.append(Verdict("gRPC calls/s, share of bare grpc.aio", ratio(ours, bare), ">=", GRPC_SHARE))
    return section


def measure_latency(line_up: LineUp) -> Section:
    """How long one call takes when there is no other.

    A direct call goes to an upstream on the other CPU, as every call through a proxy does: the wake-up across CPUs is
    the larger part of it, and next to an upstream on the load's own CPU the bare TCP pump would already be 5 to 6 times
    slower. That other figure stands in the table too.
    """
    peers = (line_up.direct, line_up.upstream, line_up.floor, *line_up.proxies)
    contestants = {peer.name: line_up.http(peer, 1) for peer in peers}
    contestants |= {
        "sidecar HTTP": line_up.http(line_up.sidecar, 1),
        "bare grpc.aio": line_up.grpc(line_up.bare_grpc, 1),
        "sidecar gRPC": line_up.grpc(line_up.sidecar, 1),
    }
    runs = interleave(contestants, line_up.plan.rounds)
    p50 = {name: [sample.p50 for sample in samples] for name, samples in runs.items()}
    section = section_of("Latency: 1 call in flight", runs)
    for face, target in (("HTTP", HTTP_LATENCY), ("gRPC", GRPC_LATENCY)):
        factor = ratio(p50[f"sidecar {face}"], p50["direct"])
        section.verdicts.append(Verdict(f"{face} p50, times a direct call", factor, "<=", target, "x"))
        near = ratio(p50[f"sidecar {face}"], p50[line_up.upstream.name])
        section.notes.append(f"{face} p50 is {near:.1f} times a direct call that stays on one CPU")
    return section


def interleave(contestants: dict[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """A B C, A B C, …: whatever else the machine does is spread over all of them."""
    runs: dict[str, list[Sample]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            try:
                runs[name].append(run())
            except MeasurementFailed as error:
                raise MeasurementFailed(f"{name}: {error}") from error
    return runs


def section_of(title: str, runs: dict[str, list[Sample]]) -> Section:
    """A table with a row for each contestant; verdicts are the caller's."""
    section = Section(title, COLUMNS)
    for name, samples in runs.items():
        rate, p50, p99 = (median(samples, pick) for pick in (_rate, _p50, _p99))
        wrong = sum(sample.wrong for sample in samples)
        section.wrong += wrong
        section.rows.append((name, rate, p50, p99, median(samples, _cpu), wrong))
    foreign = max(median(samples, lambda sample: sample.foreign) or 0 for samples in runs.values())
    if foreign > QUIET:
        section.notes.append(f"other processes took up to {foreign:.1f} CPUs meanwhile: trust the ratios less")
    return section


def _note_cpu_share(section: Section, runs: dict[str, list[Sample]], peer: Peer) -> None:
    """The same comparison by CPU time per call, which other processes on that CPU disturb less than calls a second."""
    ours, theirs = median(runs["sidecar"], _cpu), median(runs[peer.name], _cpu)
    if ours and theirs:
        section.notes.append(f"by CPU time per call the share of {peer.name} is {theirs / ours:.2f}")


def _rate(sample: Sample) -> float:
    return sample.rate


def _p50(sample: Sample) -> float:
    return sample.p50


def _p99(sample: Sample) -> float:
    return sample.p99


def _cpu(sample: Sample) -> float | None:
    return sample.cpu


def _lines(log: Path) -> int:
    with log.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
