"""Runs the official suite as a child process and reads what it found; judges nothing and starts nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from tests.support.real_servers import conformance_program

SECONDS = 100.0
CLIENT_SECONDS = 60.0
_SHOWN = 500
ROOT = Path(__file__).resolve().parents[2]

_RUNS = re.compile(r"^=== Running scenario: (\S+) ===$", re.MULTILINE)
_LISTED = re.compile(r"^ +- (\S+) \[(.*)\]$", re.MULTILINE)
# Worst first: a check that is made more than once counts as its worst.
_WORST = ("FAILURE", "WARNING", "SUCCESS", "SKIPPED", "INFO")


class HarnessFailed(RuntimeError):
    """The suite itself did not work; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario came to: of every check id the status and what was said about it, and how many there were."""

    scenario: str
    checks: dict[str, tuple[str, str]]
    passed: int
    failed: int


def applicable(role: str, revision: str) -> list[str]:
    """The scenarios of a role (`server`, `client`) that a revision has, in the suite's order."""
    listed = _run(["list"])
    server, _, rest = listed.partition("Client scenarios")
    client, _, _ = rest.partition("Authorization server scenarios")
    text = {"server": server, "client": client}[role]
    return [name for name, revisions in _LISTED.findall(text) if revision in revisions.split(",")]


@cache
def required(role: str, revision: str) -> frozenset[str]:
    """The scenarios that the frozen requirement set of a revision names."""
    _, program = conformance_program()
    path = program.parents[1] / "requirements" / f"{revision}.yaml"
    return frozenset(yaml.safe_load(path.read_text())[role]) if path.exists() else frozenset()


def judge_server(url: str, revision: str, results: Path) -> list[Outcome]:
    """Run every server scenario of a revision against `url`. `results` is an empty directory."""
    said = _run(["server", "--url", url, "--suite", "all", "--spec-version", revision, "-o", str(results)])
    return [_outcome(results, f"server-{name}", name) for name in _RUNS.findall(said)]


def judge_client(command: Sequence[str], scenario: str, revision: str, results: Path) -> Outcome:
    """Run one client scenario: the suite appends the URL of its own server to `command`. `results` is empty."""
    # Replacing the shell that the suite starts: a signal to it reaches the command.
    words = " ".join(["exec", *command])
    patience = ["--timeout", str(int(CLIENT_SECONDS * 1000))]
    wanted = ["--scenario", scenario, "--spec-version", revision, *patience, "-o", str(results)]
    said = _run(["client", "--command", words, *wanted])
    outcome = _outcome(results, scenario, scenario)
    if (crashed := re.search(r"^Client (exited with code|timed out after).*", said, re.MULTILINE)) is not None:
        (stderr,) = results.glob(f"{scenario}-*/stderr.txt")
        why = f"{crashed[0]}\n{stderr.read_text()[-_SHOWN:]}"
        checks = {**outcome.checks, "client-ends-well": ("FAILURE", why)}
        return Outcome(scenario, checks, outcome.passed, outcome.failed + 1)
    return outcome


def _outcome(results: Path, prefix: str, scenario: str) -> Outcome:
    found = [path for path in results.iterdir() if re.fullmatch(rf"{re.escape(prefix)}-\d{{4}}-.*Z", path.name)]
    if len(found) != 1 or not (found[0] / "checks.json").exists():
        return Outcome(scenario, {"scenario-runs": ("FAILURE", "the suite could not run it")}, 0, 1)
    entries = json.loads((found[0] / "checks.json").read_text())
    statuses = [entry["status"] for entry in entries]
    checks = {id_: _worst([entry for entry in entries if entry["id"] == id_]) for id_ in _ids(entries)}
    return Outcome(scenario, checks, statuses.count("SUCCESS"), statuses.count("FAILURE") + statuses.count("WARNING"))


def _ids(entries: Iterable[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(entry["id"] for entry in entries))


def _worst(entries: list[dict[str, str]]) -> tuple[str, str]:
    worst = min(entries, key=lambda entry: _WORST.index(entry["status"]))
    return worst["status"], worst.get("errorMessage") or worst["description"]


def _run(words: Sequence[str]) -> str:
    """What the suite prints. Its exit code says what the checks say too."""
    node, program = conformance_program()
    try:
        done = subprocess.run(
            [node, program, *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise HarnessFailed(f"{' '.join(words)} took too long:\n{(late.stdout or b'')[-4000:].decode()}") from late
    said = done.stdout.decode(errors="replace")
    if done.returncode not in {0, 1}:
        raise HarnessFailed(f"{' '.join(words)} ended with {done.returncode}:\n{said[-4000:]}")
    return said
