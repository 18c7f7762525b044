"""The written reference says what the code does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mcp_sidecar.config import reference
from mcp_sidecar.config.schema import Key, Section, schema, variables

DOCS = Path(__file__).parents[2] / "docs"


def keys(section: Section, path: str = "") -> Iterator[tuple[str, Key]]:
    for name, part in section.parts.items():
        if isinstance(part, Key):
            yield f"{path}{name}", part
        else:
            yield from keys(part, f"{path}{name}.")


def test_the_committed_page_and_schema_are_what_the_code_writes(tmp_path):
    reference.write(tmp_path)
    for name in (reference.PAGE, reference.SCHEMA):
        assert (DOCS / name).read_text() == (tmp_path / name).read_text(), (
            f"docs/{name} is stale: run python -m mcp_sidecar.config.reference docs"
        )


def test_every_key_has_a_sentence_and_a_default_inside_its_own_limits():
    for path, key in keys(schema()):
        assert key.doc.text.endswith("."), path
        if isinstance(key.default, int | float) and not isinstance(key.default, bool):
            assert key.doc.low <= key.default <= key.doc.high, path
        if key.doc.choices:
            chosen = key.default if key.shape == "list" else [key.default]
            assert set(chosen) <= set(key.doc.choices) - set(key.doc.later), path


def test_no_two_keys_share_a_variable():
    names = [name for name, _ in variables()]
    assert len(names) == len(set(names))
    page = reference.page()
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_json_schema_knows_the_same_keys_and_no_others():
    def check(section: Section, node: dict[str, object]) -> None:
        assert node["additionalProperties"] is False
        properties = node["properties"]
        assert isinstance(properties, dict)
        assert list(properties) == list(section.parts)
        for name, part in section.parts.items():
            if isinstance(part, Section):
                check(part, properties[name]["items"] if part.many else properties[name])

    check(schema(), json.loads(reference.schema_text()))


def test_settings_and_a_start_without_a_file_load_neither_yaml_nor_anything_heavy():
    code = (
        "import sys; before = set(sys.modules); import mcp_sidecar.settings;"
        "foreign = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "assert foreign <= {'mcp_sidecar'}, foreign;"
        "from mcp_sidecar.config import load; load(None, {}, {'upstream': ['a=http://a']});"
        "assert not {'yaml', 'difflib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
