"""What holds for the repository as a whole: its promises, its image, its files; knows no code."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hack import image_layout

ROOT = Path(__file__).resolve().parent.parent
WORDS = [
    *("demo", "setup", "format", "lint", "types", "test", "test-conformance", "test-matrix", "test-kube", "test-all"),
    *("test-otel", "bench", "protos", "chart", "image", "check", "docs"),
]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

_REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|docker\.io|ghcr\.io|quay\.io|gcr\.io|proxy\.golang\.org|crates\.io"
)
_MACHINE_PATHS = re.compile(r"(?<![\w./:$}~-])/(?:home|root|Users|work|workspace)/\w")


def _files() -> list[Path]:
    """What is, or would be, committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in _files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    return found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    # A mirror must do: where packages come from is the business of pip's, npm's and docker's own configuration.
    assert _lines_with(_REGISTRIES) == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert _lines_with(_MACHINE_PATHS) == []


def test_the_patterns_of_the_two_tests_above_find_what_they_look_for() -> None:
    assert _REGISTRIES.search("https://" + "pypi." + "org/simple")
    assert _MACHINE_PATHS.search("see /" + "home/ann/x")
    assert not _MACHINE_PATHS.search("https://example.com/home/ann and ~/work/x")


# --- promises ---------------------------------------------------------------------------------------------------------


def _promised() -> list[str]:
    return re.findall(r"\*\*(B-\d+[a-z]?)\*\*", (ROOT / "docs/behaviour.md").read_text())


def _covered() -> set[str]:
    """The ids in every `@pytest.mark.covers("B-01", …)`, also those inside `pytest.param(marks=…)`."""
    ids: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "covers":
                ids |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return ids


def test_every_promise_is_made_once() -> None:
    assert [name for name, times in Counter(_promised()).items() if times > 1] == []


def test_every_promise_is_kept_by_a_test() -> None:
    assert sorted(set(_promised()) - _covered()) == []


def test_every_covered_promise_is_made() -> None:
    assert sorted(_covered() - set(_promised())) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda path: path.name)
def test_every_decision_has_status_context_decision_and_consequences(page: Path) -> None:
    headings = re.findall(r"^#+ *(\w+)", page.read_text(), re.MULTILINE)
    missing = {"status", "context", "decision", "consequences"} - {heading.lower() for heading in headings}
    assert not missing
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)


# --- tools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
def test_every_word_of_make_says_what_it_is_for(word: str) -> None:
    assert re.search(rf"^{word}:.*## +\S", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        "hack/setup.sh",
        "hack/wheels.sh",
        "hack/package_chart.sh",
        "hack/kube/build.sh",
        "hack/otelcol/build.sh",
    ],
)
def test_scripts_can_be_run_as_they_stand(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints-dev.txt").read_text().splitlines()
    plain = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in plain), "only name==version"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in plain)}


def test_every_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    pins = _pins()
    groups = [PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"].values()]
    wanted = [need for need in map(Requirement, itertools.chain(*groups)) if need.name != "mcp-sidecar"]
    wrong = [str(need) for need in wanted if not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"))]
    assert not wrong


def test_what_users_install_has_a_floor_and_a_ceiling() -> None:
    for listed in PYPROJECT["project"]["dependencies"]:
        operators = {clause.operator for clause in Requirement(listed).specifier}
        assert {">=", "<"} <= operators, listed


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


# --- image ------------------------------------------------------------------------------------------------------------


def _instructions() -> list[tuple[str, str]]:
    return image_layout.instructions(image_layout.DOCKERFILE.read_text())


def _last_stage() -> list[tuple[str, str]]:
    return image_layout.last_stage(_instructions())


def test_dockerfile_leaves_its_build_tools_behind() -> None:
    stages = [rest for word, rest in _instructions() if word == "FROM"]
    assert len(stages) >= 2
    assert any(rest.startswith("--from=builder ") for word, rest in _last_stage() if word == "COPY")
    assert not any("pip install" in rest or "apt-get" in rest for _, rest in _last_stage())


def test_dockerfile_names_the_version_of_every_base() -> None:
    bases = [rest.split()[0] for word, rest in _instructions() if word == "FROM"]
    assert all(re.fullmatch(r"\w+:\d+\.\d+[\w.-]*", base) for base in bases), bases


@pytest.mark.covers("B-268")
def test_dockerfile_runs_as_a_number_that_is_not_root() -> None:
    assert [rest for word, rest in _last_stage() if word == "USER"][-1:] == ["65532:65532"]


@pytest.mark.covers("B-268")
def test_dockerfile_starts_the_sidecar_without_a_shell() -> None:
    layout = image_layout.layout(image_layout.DOCKERFILE.read_text())
    assert (layout["Entrypoint"], layout["Cmd"]) == (["mcp-sidecar"], ["serve"])
    # Where its name is looked for: also by the exec hooks of a pod, which have no shell either.
    assert f"PATH={layout['venv']}/bin:" in layout["Env"][0]


def test_dockerfile_compiles_bytecode_that_is_never_checked_and_never_written_again() -> None:
    compiled = [rest for _, rest in _instructions() if "compileall" in rest and "unchecked-hash" in rest]
    assert len(compiled) == 2, "the sidecar and the standard library"
    assert any(word == "ENV" and "PYTHONDONTWRITEBYTECODE=1" in rest for word, rest in _last_stage())


def test_dockerfile_exposes_the_ports_that_are_documented() -> None:
    assert dict(_last_stage())["EXPOSE"].split() == ["15051", "15080", "15081", "15090"]


def test_dockerfile_is_given_what_it_asks_for_and_nothing_else() -> None:
    copied = [rest.split()[0] for word, rest in _instructions() if word == "COPY" and not rest.startswith("--from")]
    mounted = [
        source for _, rest in _instructions() for source in re.findall(r"--mount=type=bind,source=([^,]+)", rest)
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {*copied, *mounted} == allowed


@pytest.mark.covers("B-268")
def test_dockerfile_installs_without_a_network_what_the_constraints_say() -> None:
    installs = [rest for _, rest in _instructions() if "pip install" in rest]
    assert all("--no-index" in rest for rest in installs)
    assert len(installs) == 1
    assert "[kubernetes,otel]" in installs[0]
    assert "--constraint constraints-dev.txt" in (ROOT / "hack/wheels.sh").read_text()


def test_dockerfile_prunes_only_classes_that_the_sidecar_never_imports() -> None:
    generated = re.compile(r"kubernetes(?:\.aio)?\.client(?:\.(?:api|models)\b| import .*(?:V\d\w*Api|\bV\d\w+))")
    users = [path for path in (ROOT / "mcp_sidecar").rglob("*.py") if generated.search(path.read_text())]
    assert users == []
