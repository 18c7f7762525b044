"""Whatever the file, the environment or the flags hold, loading ends with settings or with BadConfiguration."""

import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sidecar.config import BadConfiguration, Loaded, load, otel_variables
from mcp_sidecar.config.layers import FLAGS, OTHER_VARIABLES
from mcp_sidecar.config.reference import example
from mcp_sidecar.config.schema import Key, Section, schema, variables
from mcp_sidecar.settings import Settings

LINES = example().splitlines(keepends=True)
WORDS = sorted({word for line in LINES for word in line.split("#")[0].replace(":", " ").split()})
SCALARS = st.one_of(
    st.sampled_from(WORDS), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=20), st.dates()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner),
    max_leaves=20,
)


def load_bytes(content: bytes) -> Loaded | BadConfiguration:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "f"
        file.write_bytes(content)
        try:
            return load(file)
        except BadConfiguration as refusal:
            return explained(refusal)


def explained(refusal: BadConfiguration) -> BadConfiguration:
    """Return a refusal that says something."""
    assert refusal.problems
    assert str(refusal).isprintable() or "\n" in str(refusal)
    return refusal


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_problems(content):
    load_bytes(content)


@given(st.dictionaries(st.sampled_from(list(schema().parts)), TREES))
def test_any_yaml_under_our_keys_is_settings_or_problems(tree):
    load_bytes(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.data_too_large])
def test_a_damaged_good_file_is_settings_or_problems(data):
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "double", "cut", "replace"])):
            case "drop":
                lines[at] = ""
            case "double":
                lines[at] *= 2
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
            case "replace":
                key, _, _ = lines[at].partition(":")
                lines[at] = f"{key}: {data.draw(st.sampled_from(WORDS) | st.text(max_size=10))}\n"
    load_bytes("".join(lines).encode("utf-8", "replace"))


NAMES = [name for name, _ in variables()] + list(OTHER_VARIABLES)
NAMES += [*otel_variables.VARIABLES, *otel_variables.BOUNDS, *otel_variables.SECURITY, otel_variables.SAMPLER]
TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS), st.dictionaries(st.sampled_from([*FLAGS, "upstream"]), TEXTS))
def test_any_variables_and_flags_are_settings_or_problems(environ, flags):
    try:
        load(None, environ, flags)
    except BadConfiguration as refusal:
        explained(refusal)


DECLARED = """\
file_format: "1.0"
disabled: ${OTEL_SDK_DISABLED:-false}
resource: {attributes: [{name: a, value: b}], attributes_list: c=d}
tracer_provider:
  sampler: {parent_based: {root: {trace_id_ratio_based: {ratio: 0.5}}}}
  processors:
    - batch:
        schedule_delay: 1000
        max_queue_size: 100
        exporter:
          otlp_http:
            endpoint: ${ENDPOINT:-http://localhost:4318}/v1/traces
            headers: [{name: a, value: b}]
            timeout: 1000
meter_provider:
  readers:
    - periodic: {interval: 1000, exporter: {otlp_grpc: {temporality_preference: delta, tls: {insecure: true}}}}
""".splitlines(keepends=True)


@given(st.data())
def test_a_damaged_declarative_file_is_settings_or_problems(data):
    lines = list(DECLARED)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, _, _ = lines[at].partition(":")
        value = data.draw(st.sampled_from(["", "null", "[]", "{}", "-1", "${", "${X:-{a: b}}", "1e9"]) | TEXTS)
        lines[at] = data.draw(st.sampled_from(["", lines[at] * 2, f"{key}: {value}\n", lines[at][:-3]]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "otel.yaml"
        file.write_bytes("".join(lines).encode("utf-8", "replace"))
        try:
            load(None, {"OTEL_CONFIG_FILE": str(file)})
        except BadConfiguration as refusal:
            explained(refusal)


def key_values(key: Key) -> st.SearchStrategy[object]:
    """Draw a value that a key takes in this version."""
    doc = key.doc
    if doc.only_default or doc.form:
        return st.just(key.default)
    if doc.choices:
        one: st.SearchStrategy[object] = st.sampled_from([choice for choice in doc.choices if choice not in doc.later])
    elif doc.unit == "seconds":
        one = st.integers(10, int(min(doc.high, 10**6)) * 1000).map(lambda milliseconds: milliseconds / 1000)
    elif key.type is float:
        one = st.integers(int(doc.low), int(doc.high) * 100).map(lambda hundredths: hundredths / 100)
    elif key.type is int:
        one = st.integers(int(doc.low), int(doc.high))
    else:
        one = st.booleans() if key.type is bool else st.text("ab*-_", min_size=1, max_size=5)
    return st.lists(one, min_size=1, max_size=3).map(tuple) if key.shape == "list" else one


def section_values(section: Section) -> st.SearchStrategy[dict[str, object]]:
    parts = {
        name: key_values(part) if isinstance(part, Key) else section_values(part)
        for name, part in section.parts.items()
        if name not in {"auth", "batch"}  # what they take depends on other keys
        and not (isinstance(part, Section) and part.many)
        if isinstance(part, Section) or part.shape != "map"
    }
    return st.fixed_dictionaries({}, optional=parts)


def written(part: Key | Section, value: object) -> object:
    """Write settings as a file would."""
    if isinstance(part, Section):
        assert isinstance(value, dict)
        return {name: written(part.parts[name], inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return f"{round(value * 1000)}ms" if part.doc.unit == "seconds" and isinstance(value, float) else value


@given(section_values(schema()))
def test_what_is_written_is_what_is_read(values):
    loaded = load_bytes(yaml.safe_dump(written(schema(), values)).encode())
    assert isinstance(loaded, Loaded), loaded
    for name, section in values.items():
        compare(getattr(loaded.settings, name), section)
    assert loaded.settings.upstreams == Settings().upstreams


def compare(read: object, values: dict[str, object]) -> None:
    for name, value in values.items():
        inner = getattr(read, name)
        if isinstance(value, dict):
            compare(inner, value)
        else:
            assert inner == value, name
