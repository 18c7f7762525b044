"""The page's scripts, read without a browser: they parse, and their imports and exports fit together."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import mcp_sidecar.admin
from tests.support.real_servers import everything_program

STATIC = Path(mcp_sidecar.admin.__file__).with_name("static")
SCRIPTS = {path.name: path.read_text() for path in sorted(STATIC.glob("*.js"))}
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "/static/([\w.]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function\*?|const|class) (\w+)", re.MULTILINE)


def imported(text: str) -> set[tuple[str, str]]:
    """Names that a script imports, each with the file it comes from."""
    return {(name, file) for names, file in IMPORT.findall(text) for name in names.split(", ")}


@pytest.mark.covers("B-398")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_module_that_parses(name):
    node, _ = everything_program()
    command = [str(node), "--check", "--input-type=module", "-"]
    checked = subprocess.run(command, input=SCRIPTS[name], capture_output=True, check=False, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.covers("B-398")
def test_what_is_imported_is_exported_and_what_is_exported_is_imported():
    exports = {(name, file) for file, text in SCRIPTS.items() for name in EXPORT.findall(text)}
    imports = set().union(*(imported(text) for text in SCRIPTS.values()))
    assert imports - exports == set()
    assert exports - imports == set()


@pytest.mark.covers("B-398")
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_imports_is_used_in_it(name):
    text = SCRIPTS[name]
    assert len(re.findall("^import", text, re.MULTILINE)) == len(IMPORT.findall(text))
    rest = IMPORT.sub("", text)
    assert [one for one, _ in imported(text) if not re.search(rf"\b{re.escape(one)}\b", rest)] == []


@pytest.mark.covers("B-398")
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_keeps_anything_in_the_browser_or_leaves_a_trace_of_its_making(name):
    found = re.findall(r"localStorage|sessionStorage|indexedDB|\.cookie|console\.|debugger|\bvar ", SCRIPTS[name])
    assert found == []
