"""`mcp-sidecar inject` and `uninject` as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_sidecar.cli import main

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\nspec:\n  containers:\n  - name: app\n"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (file := tmp_path / "pod.yaml").write_text(POD)
    return file


@pytest.mark.covers("B-241")
def test_standard_input_comes_out_with_a_sidecar_and_a_word_on_stderr() -> None:
    words = [sys.executable, "-m", "mcp_sidecar", "inject", "--image", "mine:1"]
    done = subprocess.run(words, input=POD.encode(), capture_output=True, timeout=30, check=True)
    assert b"image: mine:1" in done.stdout
    assert done.stderr == b"pod/one: injected\n"
    back = subprocess.run(
        [sys.executable, "-m", "mcp_sidecar", "uninject", "-f", "-"],
        input=done.stdout,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert back.stdout == POD.encode()


def test_several_files_become_one_stream(manifest: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["inject", "-f", str(manifest), "-f", str(manifest)]) == 0
    out, err = capfdbinary.readouterr()
    assert out.count(b"\n---\n") == 1 and out.count(b"name: mcp-sidecar\n") == 2
    assert err.count(b"injected") == 2


def test_flags_become_options_and_annotations(manifest: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    flags = ["--upstreams", "w=http://w/mcp", "--app-port", "8000", "--env", "A=b=c", "--mode", "container"]
    assert main(["inject", "-f", str(manifest), *flags]) == 0
    out = capfdbinary.readouterr().out
    assert b"mcp-sidecar.dev/upstreams: w=http://w/mcp" in out
    assert b"mcp-sidecar.dev/app-port: '8000'" in out
    assert b"- name: A\n      value: b=c" in out
    assert b"initContainers" not in out


@pytest.mark.parametrize(
    "flags", [["--app-port", "http"], ["--env", "A"], ["--mode", "both"], ["--memory-limit", "lots"]]
)
def test_a_bad_flag_is_bad_usage(flags: list[str], manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "-f", str(manifest), *flags]) == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.covers("B-241")
def test_nothing_is_written_when_one_document_is_bad(
    manifest: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (bad := tmp_path / "bad.yaml").write_text(POD + "---\nkind: Pod\napiVersion: v1\nspec: 5\n")
    assert main(["inject", "-f", str(manifest), "-f", str(bad)]) == 64
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert b"bad.yaml: document 2, line 11: pod/(no name): spec: expected a mapping" in err


@pytest.mark.parametrize(
    ("contents", "word"), [(b"\xff\xfe", "not UTF-8"), (b"a: [\n", "document 1, line 2: not valid YAML")]
)
def test_a_file_that_is_no_text_is_named(
    contents: bytes, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "x.yaml").write_bytes(contents)
    assert main(["uninject", "-f", str(file)]) == 64
    assert word in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "-f", "/nowhere.yaml"]) == 1
    assert "/nowhere.yaml: No such file" in capsys.readouterr().err
