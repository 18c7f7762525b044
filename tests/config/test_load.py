"""Layers, defaults and the whole way from files, variables and flags to settings."""

from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, load
from mcp_sidecar.config.reading import MOST_PROBLEMS
from mcp_sidecar.config.reference import example
from mcp_sidecar.settings import KeepaliveSettings, Settings, TimeoutSettings, ToolSettings

FULL = """
listen: {{grpc: 127.0.0.1:15051, http: 127.0.0.1:15080, health: 0.0.0.0:15081, metrics: 0.0.0.0:15090}}
grpc:
  reflection: false
  keepalive: {{max_connection_idle: 15m, max_connection_age: 30m, max_connection_age_grace: 5m, time: 5m, timeout: 1m,
              min_time: 5m, permit_without_stream: true}}
  send_queue: 100
upstreams:
  - name: weather
    url: http://weather.tools.svc:8080/mcp
    protocol: auto
    auth: {{bearer_file: {bearer}}}
    timeout: {{call: 60s, connect: 1s}}
    tools: {{allow: ["*"], deny: [], retry: [], trusted: false}}
merge: {{prefix: on-conflict, separator: "__"}}
discovery: {{mode: "off", namespace: "", selectors: ["mcp-sidecar.dev/server=true"]}}
pool: {{max_connections: 256, max_per_endpoint: 64, idle: 3s, session_idle: 15m}}
monitor: {{interval: 10s}}
admission: {{in_flight: 512, per_endpoint: 64, queue: 128, queue_wait: 1s}}
retry: {{attempts: 2, budget: 0.2}}
start: {{require: [], timeout: 60s}}
drain: {{lame_duck: 5s, grace: 15s}}
auth: {{mode: none}}
telemetry: {{otlp_endpoint: "", sample: 0.05}}
log: {{level: info, format: auto}}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        file = tmp_path / "config.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def problems(file: Path | None = None, environ=None, flags=None) -> list[str]:
    with pytest.raises(BadConfiguration) as raised:
        load(file, environ, flags)
    return [str(problem).replace(f"{file}:", "config.yaml:") for problem in raised.value.problems]


def test_nothing_given_is_the_defaults():
    assert load(None, {}, {}).settings == Settings()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}", "\ufeff{}", "pool:\n", "upstreams: []"])
def test_an_empty_file_is_the_defaults(write, text):
    assert load(write(text)).settings == Settings()


def test_the_documented_file_is_the_defaults_and_one_upstream(write, tmp_path):
    bearer = tmp_path / "token"
    bearer.write_text("secret-canary")
    loaded = load(write(FULL.format(bearer=bearer)))
    (weather,) = loaded.settings.upstreams
    assert (weather.name, weather.url) == ("weather", "http://weather.tools.svc:8080/mcp")
    assert weather.auth.bearer_file == str(bearer)
    assert (weather.timeout, weather.tools) == (TimeoutSettings(), ToolSettings())
    assert loaded.settings == Settings(upstreams=(weather,))
    assert loaded.warnings == ()
    assert "secret-canary" not in repr(loaded)


def test_the_generated_example_says_the_defaults(write):
    settings = load(write(example())).settings
    assert settings == Settings(upstreams=settings.upstreams)
    assert [upstream.name for upstream in settings.upstreams] == ["weather"]


def test_a_file_may_say_everything_that_works(write):
    settings = load(
        write("""
        listen: {grpc: [127.0.0.1:0, "[::1]:9", unix:///run/s.sock], http: off, health: "off", metrics: localhost:9}
        grpc: {reflection: true, keepalive: {time: 250ms, permit_without_stream: false}, max_message: 64KiB}
        http: {max_body: 1048576, allowed_hosts: sidecar.local}
        upstreams:
        - {name: a-1, url: "https://x.example:8443/mcp?k=v", protocol: 2025-11-25, timeout: {call: 1.5s},
           tools: {allow: [read_*], deny: [read_all], retry: [read_one]}}
        pool: {idle: 0}
        retry: {attempts: 1}
        log: {level: debug, format: json}
        """)
    ).settings
    assert settings.listen.grpc == ("127.0.0.1:0", "[::1]:9", "unix:///run/s.sock")
    assert (settings.listen.http, settings.listen.health, settings.listen.metrics) == ("off", "off", "localhost:9")
    assert settings.grpc.keepalive == KeepaliveSettings(time=0.25, permit_without_stream=False)
    assert (settings.grpc.reflection, settings.grpc.max_message, settings.http.max_body) == (True, 65536, 1048576)
    assert settings.http.allowed_hosts == ("sidecar.local",)
    (upstream,) = settings.upstreams
    assert (upstream.protocol, upstream.timeout.call) == ("2025-11-25", 1.5)
    assert upstream.tools == ToolSettings(("read_*",), ("read_all",), ("read_one",))
    assert (settings.pool.idle, settings.retry.attempts, settings.log.level) == (0.0, 1, "debug")


@pytest.mark.parametrize("text", ["listen: {grpc: off}", 'listen: {grpc: ["off"]}', "listen: {grpc: []}"])
def test_grpc_off_is_the_empty_list_of_addresses(write, text):
    assert load(write(text)).settings.listen.grpc == ()


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(write):
    file = write("listen: {http: 127.0.0.1:1, health: 127.0.0.1:1, metrics: 127.0.0.1:1}")
    environ = {"MCP_SIDECAR_LISTEN_HTTP": "127.0.0.1:2", "MCP_SIDECAR_LISTEN_HEALTH": "127.0.0.1:2"}
    listen = load(file, environ, {"http": "127.0.0.1:3", "health": None}).settings.listen
    assert (listen.http, listen.health, listen.metrics) == ("127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1")
    assert listen.grpc == Settings().listen.grpc


def test_a_variable_changes_one_key_and_leaves_its_neighbours(write):
    file = write("grpc: {keepalive: {time: 1m, timeout: 2s}}")
    keepalive = load(file, {"MCP_SIDECAR_GRPC_KEEPALIVE_TIME": "5s"}).settings.grpc.keepalive
    assert (keepalive.time, keepalive.timeout) == (5.0, 2.0)


def test_every_kind_of_value_can_come_from_a_variable():
    environ = {
        "MCP_SIDECAR_LISTEN_GRPC": "127.0.0.1:1, unix:///run/a",
        "MCP_SIDECAR_GRPC_REFLECTION": "true",
        "MCP_SIDECAR_GRPC_SEND_QUEUE": "7",
        "MCP_SIDECAR_HTTP_MAX_BODY": "2MiB",
        "MCP_SIDECAR_POOL_IDLE": "250ms",
        "MCP_SIDECAR_TELEMETRY_SAMPLE": "0.05",
        "MCP_SIDECAR_LOG_LEVEL": "error",
        "MCP_SIDECAR_UPSTREAMS": "a=http://a/mcp, b=https://b/mcp?x=y",
    }
    settings = load(None, environ).settings
    assert settings.listen.grpc == ("127.0.0.1:1", "unix:///run/a")
    assert (settings.grpc.reflection, settings.grpc.send_queue, settings.http.max_body) == (True, 7, 2 * 1024**2)
    assert (settings.pool.idle, settings.log.level) == (0.25, "error")
    assert [(up.name, up.url) for up in settings.upstreams] == [("a", "http://a/mcp"), ("b", "https://b/mcp?x=y")]


def test_the_variable_replaces_the_files_upstreams_and_the_flag_adds_to_them(write):
    file = write("upstreams: [{name: a, url: http://a}]")
    flags = {"upstream": ["c=http://c"]}
    assert [up.name for up in load(file, {}, flags).settings.upstreams] == ["a", "c"]
    environ = {"MCP_SIDECAR_UPSTREAMS": "b=http://b"}
    assert [up.name for up in load(file, environ, flags).settings.upstreams] == ["b", "c"]


def test_a_flag_may_not_take_a_name_that_the_file_has(write):
    file = write("upstreams: [{name: a, url: http://a}]")
    assert problems(file, {}, {"upstream": ["a=http://b"]}) == [
        'flag --upstream: upstreams[1].name: "a" is already the name of upstreams[0]'
    ]


def test_unknown_variables_are_problems_with_the_nearest_name():
    assert problems(None, {"MCP_SIDECAR_POOL_IDEL": "1s"}) == [
        "environment MCP_SIDECAR_POOL_IDEL: unknown variable; did you mean MCP_SIDECAR_POOL_IDLE?"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "MCP_SIDECAR_SERVICE_HOST",
        "MCP_SIDECAR_SERVICE_PORT",
        "MCP_SIDECAR_SERVICE_PORT_GRPC",
        "MCP_SIDECAR_PORT",
        "MCP_SIDECAR_PORT_15080_TCP",
        "MCP_SIDECAR_PORT_15080_TCP_ADDR",
        "MCP_SIDECAR_INJECTOR_SERVICE_HOST",
        "MCP_SIDECAR_INJECTOR_PORT_443_TCP_PROTO",
        "MCP_SIDECAR_TEST_ANYTHING",
        "MCP_SIDECAR_ADDRESS",
        "MCP_SIDECAR_HTTP_ADDRESS",
        "PATH",
    ],
)
def test_variables_of_kubernetes_clients_and_tests_are_nobodys_problem(name):
    assert load(None, {name: "tcp://10.0.0.1:1"}).settings == Settings()


def test_an_empty_variable_counts_as_not_set():
    assert load(None, {"MCP_SIDECAR_POOL_IDLE": "", "MCP_SIDECAR_NONSENSE": ""}).settings == Settings()


def test_the_environment_may_name_the_file_and_the_argument_wins(write, tmp_path):
    named = tmp_path / "named.yaml"
    named.write_text("pool: {idle: 9s}")
    environ = {"MCP_SIDECAR_CONFIG": str(named)}
    assert load(None, environ).settings.pool.idle == 9.0
    assert load(write("pool: {idle: 8s}"), environ).settings.pool.idle == 8.0


def test_the_pods_grace_period_is_handed_on():
    assert load(None, {}).pod_grace is None
    assert load(None, {"MCP_SIDECAR_POD_GRACE_SECONDS": "30"}).pod_grace == 30.0
    assert problems(None, {"MCP_SIDECAR_POD_GRACE_SECONDS": "30s"}) == [
        "environment MCP_SIDECAR_POD_GRACE_SECONDS: expected a number of seconds"
    ]


def test_problems_of_all_layers_come_at_once_the_files_first_and_by_line(write):
    file = write("pool:\n  idle: 5\n  idel: 5s\nupstreams:\n- name: x\n- url: http://y\nmonitor: {interval: 0}\n")
    found = problems(file, {"MCP_SIDECAR_LOG_LEVEL": "loud"}, {"http": "8080"})
    assert found[:-1] == [
        'config.yaml:2: pool.idle: expected a duration such as 250ms, 5s, 15m or 1h, got "5"; add the unit, as in 5s',
        'config.yaml:3: pool.idel: unknown key; did you mean "idle"?',
        "config.yaml:5: upstreams[0].url: an upstream needs a url or a command",
        "config.yaml:6: upstreams[1].name: every item needs a name",
        "config.yaml:7: monitor.interval: 0 is outside 0.01s to 2147483s",
        'environment MCP_SIDECAR_LOG_LEVEL: log.level: "loud" is not a choice; choices: debug, info, warning, error',
    ]
    assert found[-1].startswith("flag --http: listen.http: expected host:port")


def test_a_bad_value_is_a_problem_even_where_a_higher_layer_overrides_it(write):
    assert len(problems(write("pool: {idle: soon}"), {"MCP_SIDECAR_POOL_IDLE": "1s"})) == 1


def test_a_file_of_nothing_but_problems_is_cut_off_and_says_so(write):
    found = problems(write("".join(f"k{number}: 1\n" for number in range(3 * MOST_PROBLEMS))))
    assert len(found) == MOST_PROBLEMS + 1
    assert found[-1].endswith(f"and more: these are the first {MOST_PROBLEMS}")


def test_files_that_cannot_be_read_are_problems_too(write, tmp_path):
    assert problems(tmp_path / "absent")[0].endswith(": cannot be read: No such file or directory")
    assert problems(tmp_path)[0].endswith("cannot be read: Is a directory")
    assert problems(Path("nul\0"))[0].endswith("cannot be read: no such file")
    assert problems(write(b"#" * (1024 * 1024 + 1)))[0].endswith("larger than 1048576 bytes")
    assert problems(write(b"a: 1\nb: \xff\n")) == ["config.yaml:2: not UTF-8 text"]
    assert problems(write("pool: {}\npool".encode("utf-16")))[0].endswith("not UTF-8 text")


def test_a_file_at_the_size_limit_is_read(write):
    assert load(write(b"#" * 1024 * 1024)).settings == Settings()


WORDS = ("python", "-m", "my server", "--flag=a,b")


def test_a_command_is_given_as_a_flag_split_as_a_shell_does():
    given = load(None, {"PATH": "/bin"}, {"upstream": ["files=stdio:python -m 'my server' --flag=a,b"]})
    (upstream,) = given.settings.upstreams
    assert (upstream.url, upstream.command) == ("", WORDS)


def test_a_command_that_cannot_be_split_is_a_problem():
    (problem,) = problems(flags={"upstream": ["files=stdio:python 'my"]})
    assert problem.startswith("flag --upstream: upstreams: the command cannot be split into words")


@pytest.mark.covers("B-115")
def test_a_command_inherits_a_few_variables_and_may_set_them_itself(write, tmp_path):
    file = write(f"upstreams: [{{name: a, command: [python], env: {{ROOT: /data, LANG: C}}, cwd: {tmp_path}}}]")
    ours = {"PATH": "/bin", "HOME": "/h", "USER": "u", "LANG": "de", "LC_ALL": "x", "TZ": "UTC", "TMPDIR": "/t"}
    secret = {"AWS_SECRET": "s", "MCP_SIDECAR_LOG_LEVEL": "info", "PYTHONPATH": "/p", "KUBERNETES_SERVICE_HOST": "h"}
    (upstream,) = load(file, ours | secret).settings.upstreams
    assert dict(upstream.env) == {**ours, "LANG": "C", "ROOT": "/data"}
    assert upstream.cwd == str(tmp_path)
    assert "/data" not in repr(upstream)
