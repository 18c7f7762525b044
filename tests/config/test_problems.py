"""What a person reads about each kind of mistake."""

from pathlib import Path

import pytest

from mcp_sidecar.config import BadConfiguration, Problem, format_problems, load
from tests.support.certificates import Authority

UPSTREAM = "upstreams: [{name: a, url: http://a, %s}]"


def complaints(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """Return path and message of every problem of a file."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(BadConfiguration) as raised:
        load(file, environ)
    return [f"{problem.path}: {problem.message}" for problem in raised.value.problems]


def only(tmp_path: Path, text: str) -> str:
    (complaint,) = complaints(tmp_path, text)
    return complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pol: {}", 'pol: unknown key; did you mean "pool"?'),
        ("lame_duck: 5s", "lame_duck: unknown key; it belongs in drain"),
        ("pool: {call: 5s}", "pool.call: unknown key; it belongs in upstreams[].timeout"),
        ("log: {zzz: 1}", "log.zzz: unknown key; known here: level, format"),
        (UPSTREAM % "timeout: {cal: 1s}", 'upstreams[0].timeout.cal: unknown key; did you mean "call"?'),
        ('"a\\e[31m": 1', 'known here'),
        ("pool: 5", "pool: expected a map of keys, got a single value"),
        ("pool: []", "pool: expected a map of keys, got a list"),
        ("[]", ": expected a map of keys, got a list"),
        ("pool", ": expected a map of keys, got a single value"),
        ("upstreams: {a: 1}", "upstreams: expected a list, each item beginning with - name:"),
        ("upstreams: [a]", "upstreams[0]: expected a map of keys, got a single value"),
        ("{[a]: 1}", ": a key must be a word"),
        ("pool: {idle: 1s}\npool: {idle: 2s}", "pool: the key is given twice, first on line 1"),
        ("pool: {<<: 5}", "pool.\"<<\": unknown key"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_are_explained(tmp_path, text, complaint):
    assert complaint in complaints(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("5", 'got "5"; add the unit, as in 5s'),
        ("5.5", 'got "5.5"'),
        ("-5s", 'got "-5s"'),
        ("5 s", 'got "5 s"'),
        ("5d", 'got "5d"'),
        ("1h30m", 'got "1h30m"'),
        ("true", 'got "true"'),
        ("", "got nothing"),
        ("[5s]", "got a list"),
        ("{a: 5s}", "got a map"),
        ("999999999h", "999999999h is outside 0s to 2147483s"),
    ],
)
def test_durations_that_do_not_fit_are_explained(tmp_path, value, complaint):
    assert only(tmp_path, f"pool: {{idle: {value}}}").endswith(complaint)


@pytest.mark.parametrize("value", ["4MB", "4M", "1.5MiB", "-1", "4 MiB", "KiB", "0", "3GiB", "99999999999999"])
def test_sizes_that_do_not_fit_are_refused(tmp_path, value):
    assert only(tmp_path, f"grpc: {{max_message: {value}}}").startswith("grpc.max_message: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("grpc: {reflection: yes}", 'grpc.reflection: expected true or false, got "yes"'),
        ("grpc: {reflection: 1}", 'grpc.reflection: expected true or false, got "1"'),
        ('grpc: {reflection: "true"}', 'grpc.reflection: expected true or false, got "true"'),
        ("grpc: {send_queue: 1.5}", 'grpc.send_queue: expected a whole number, got "1.5"'),
        ("grpc: {send_queue: 010}", 'grpc.send_queue: expected a whole number, got "010"'),
        ("grpc: {send_queue: 1_000}", 'grpc.send_queue: expected a whole number, got "1_000"'),
        ("grpc: {send_queue: 0}", "grpc.send_queue: 0 is outside 1 to 2147483647"),
        ("grpc: {send_queue: -1}", "grpc.send_queue: -1 is outside 1 to 2147483647"),
        (f"grpc: {{send_queue: {'9' * 5000}}}", "grpc.send_queue: expected a whole number"),
        ("telemetry: {sample: 1.5}", "telemetry.sample: 1.5 is outside 0 to 1"),
        ("telemetry: {sample: .nan}", 'telemetry.sample: expected a number, got ".nan"'),
        ("log: {level: 5}", 'log.level: expected text, got "5"; put it in quotes'),
        ("log: {level: inof}", 'log.level: "inof" is not a choice; did you mean "info"? choices: debug'),
        (UPSTREAM % "protocol: 2024-11-05", 'upstreams[0].protocol: "2024-11-05" is not a choice'),
        (UPSTREAM % "tools: {allow: [a, 5]}", "upstreams[0].tools.allow[1]: expected text"),
        (UPSTREAM % "tools: {allow: [[a]]}", "upstreams[0].tools.allow[0]: expected text, got a list"),
        ("auth: {algorithms: [HS256]}", 'auth.algorithms[0]: "HS256" is not a choice'),
        ("auth: {algorithms: none}", 'auth.algorithms: "none" is not a choice'),
        ("merge: {separator: ''}", "merge.separator: a separator is 1 to 8"),
        ("merge: {separator: ' / '}", "merge.separator: a separator is 1 to 8"),
    ],
)
def test_values_that_do_not_fit_are_explained(tmp_path, text, complaint):
    assert only(tmp_path, text).startswith(complaint)


@pytest.mark.parametrize(
    "text",
    [
        "discovery: {mode: hub}",
        "admission: {per_endpoint: 65}",
        "admission: {queue: 0}",
        "admission: {queue_wait: 2s}",
        "retry: {budget: 0.5}",
    ],
)
def test_what_this_version_cannot_do_is_refused_and_not_ignored(tmp_path, text):
    assert "not available in this version" in only(tmp_path, text)


NAMED_SIDECAR = "expected grpc://host:port/name, where the name is that of an upstream there, or none"


@pytest.mark.parametrize(
    ("upstream", "complaint"),
    [
        ("{}", "url: an upstream needs a url or a command"),
        ("{url: http://a, command: [python]}", "url: an upstream has a url or a command, not both"),
        ("{url: http://a, env: {ROOT: /data}}", "env: only a command has one"),
        ("{url: http://a, cwd: /}", "cwd: only a command has one"),
        ("{command: [python], cwd: /no/such/place}", "cwd: there is no such directory"),
        ("{command: python -m server}", "command: write one word an item, as in [python, -m, my_server]"),
        ("{command: [python], protocol: sse}", "protocol: sse is spoken over http, not with a command"),
        ("{url: 'stdio:python -m server'}", "url: a program to start goes into command, as a list of words"),
        (
            "{url: sse+http://a/sse, protocol: 2025-11-25}",
            "protocol: a sse+http upstream speaks sse; leave the key out",
        ),
        ("{url: grpcs://a:1, protocol: sse}", "protocol: a grpcs upstream speaks 2026-07-28; leave the key out"),
        ("{url: grpc://a}", "url: the port is missing, as in grpc://weather.tools:15051"),
        *((f"{{url: 'grpc://a:1{path}'}}", f"url: {NAMED_SIDECAR}") for path in ("/A", "/a/b", "/a?b", "?b")),
    ],
)
def test_an_upstream_that_cannot_be_reached_like_this_is_explained(tmp_path, upstream, complaint):
    text = f"upstreams: [{upstream.replace('{', '{name: a, ', 1)}]"
    assert only(tmp_path, text) == f"upstreams[0].{complaint}"


def test_the_credentials_of_a_command_come_from_its_environment(tmp_path):
    (tmp_path / "token").write_text("t")
    text = f"upstreams: [{{name: a, command: [x], auth: {{bearer_file: {tmp_path}/token}}}}]"
    assert only(tmp_path, text) == "upstreams[0].auth.bearer_file: a command takes its credentials from env"


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a.b", "''", "a" * 64, "é", "'a\n'"])
def test_names_are_dns_labels(tmp_path, name):
    complaint = only(tmp_path, f"upstreams: [{{name: {name}, url: http://a}}]")
    assert complaint == (
        "upstreams[0].name: a name is 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
    )


@pytest.mark.parametrize("name", ["a", "a-1", "0", "a" * 63])
def test_good_names_are_taken(name):
    assert load(None, {}, {"upstream": [f"{name}=http://a"]}).settings.upstreams[0].name == name


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "//a", "ftp://a", "http:", "http://", "http:///mcp", "http://:80", "http://a:0", "http://a:", "http://a:x",
        "http://a:65536", "http://[::1", "http://[nope]", "http://a b", "http://a/\tb", "http://é", "http://a/#part",
        "http://canary@a", "http://canary:canary@a", "http://a\\@b", "http://-a", "http://a..b", "http://a/\nHost: b",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_called_are_refused_without_repeating_them(url):
    with pytest.raises(BadConfiguration) as raised:
        load(None, {}, {"upstream": [f"a={url}"]})
    (problem,) = raised.value.problems
    assert problem.path == "upstreams[0].url"
    assert "canary" not in problem.message


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "HTTPS://A.b:1/x?y=z",
        "http://127.0.0.1:8080/mcp",
        "http://[::1]:8/",
        "http://my_svc.ns.svc.",
        "grpc://a:1",
        "grpcs://[::1]:1/",
        "grpc://a:1/weather-2",
        "sse+http://a/sse",
        "sse+https://a:8/sse?x=y",
    ],
)
def test_good_urls_are_taken_as_they_are(url):
    assert load(None, {}, {"upstream": [f"a={url}"]}).settings.upstreams[0].url == url


@pytest.mark.parametrize(
    "address",
    [
        "8080", ":8080", "*:8080", "a:", "a:65536", "a:-1", "a:x", "::1:80", "[::1]", "[x]:80", "a b:80", "http://a:80",
        "unix:", "unix://relative", "unix:///", "unix:///dir/", f"unix:///{'a' * 107}", "off,off",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_bound_are_refused(address):
    with pytest.raises(BadConfiguration):
        load(None, {}, {"grpc": address})


@pytest.mark.parametrize("flag", ["health", "metrics"])
def test_only_grpc_and_http_listen_on_unix_sockets(flag):
    assert load(None, {}, {"grpc": "unix:///run/a", "http": "unix:///run/b"}).settings.listen.http == "unix:///run/b"
    with pytest.raises(BadConfiguration):
        load(None, {}, {flag: "unix:///run/c"})


def test_off_cannot_stand_beside_addresses(tmp_path):
    assert only(tmp_path, 'listen: {grpc: ["off", "127.0.0.1:1"]}') == "listen.grpc: off cannot stand beside addresses"


def test_a_credential_file_must_be_there_and_its_name_is_not_repeated(tmp_path):
    assert only(tmp_path, UPSTREAM % "auth: {bearer_file: /canary}") == (
        "upstreams[0].auth.bearer_file: there is no such file"
    )
    assert only(tmp_path, UPSTREAM % f"auth: {{bearer_file: {tmp_path}}}").endswith("there is no such file")


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("mode: token", ["auth.token_file: needed in mode token"]),
        ("mode: token, token_file: /absent", ["auth.token_file: there is no such file"]),
        (
            "mode: jwt",
            [
                "auth.jwks_url: mode jwt needs exactly one of jwks_url and jwks_file",
                "auth.audience: needed in mode jwt",
            ],
        ),
        (
            "mode: jwt, audience: a, jwks_url: 'https://a', jwks_file: {file}",
            ["auth.jwks_url: mode jwt needs exactly one of jwks_url and jwks_file"],
        ),
        ("mode: jwt, jwks_url: 'https://a'", ["auth.audience: needed in mode jwt"]),
        (
            "mode: jwt, audience: a, jwks_url: 'http://a'",
            ["auth.jwks_url: use https, because whoever can change the keys on their way can sign tokens"],
        ),
        (
            "mode: jwt, audience: a, jwks_url: 'https://a', algorithms: []",
            ["auth.algorithms: needs at least one algorithm"],
        ),
    ],
)
def test_each_way_to_authenticate_says_what_it_needs(tmp_path, auth, expected):
    auth = auth.replace("{file}", str(tmp_path / "config.yaml"))
    assert complaints(tmp_path, f"auth: {{{auth}}}") == expected


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_keys_may_come_in_the_clear_from_this_machine(host, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"auth: {{mode: jwt, audience: a, jwks_url: 'http://{host}:1/jwks'}}")
    assert load(file).settings.auth.mode == "jwt"


@pytest.mark.parametrize("listen", ["grpc: 0.0.0.0:1", 'grpc: ["127.0.0.1:1", "[::]:1"]', "http: example.com:1"])
def test_open_doors_are_warned_about_and_closed_ones_are_not(tmp_path, listen):
    token = tmp_path / "tokens"
    token.write_text("t")
    file = tmp_path / "config.yaml"
    file.write_text(f"listen: {{{listen}}}\nupstreams: [{{name: a, url: http://a}}]")
    (warning,) = load(file, {"MCP_SIDECAR_AUTH_MODE": "none"}).warnings
    assert "anybody who can reach" in warning
    environ = {"MCP_SIDECAR_AUTH_MODE": "token", "MCP_SIDECAR_AUTH_TOKEN_FILE": str(token)}
    assert load(file, environ).warnings == ()


@pytest.mark.covers("B-290")
@pytest.mark.parametrize("listen", ["grpc: 0.0.0.0:1", 'grpc: ["127.0.0.1:1", "[::]:1"]', "http: example.com:1"])
def test_a_door_to_the_network_stays_shut_until_somebody_says_who_may_come_in(tmp_path, listen):
    complaint = only(tmp_path, f"listen: {{{listen}}}")
    assert "anybody who can reach" in complaint and "auth.mode: none if you mean it" in complaint
    authority, server = Authority(), Authority().issue("localhost")
    for name, contents in {"ca": authority.certificate, "crt": server.certificate, "key": server.key}.items():
        (tmp_path / name).write_bytes(contents)
    tls = f"tls: {{cert_file: {tmp_path}/crt, key_file: {tmp_path}/key, client_ca_file: {tmp_path}/ca}}"
    file = tmp_path / "config.yaml"
    file.write_text(f"listen: {{{listen}, {tls}}}\nupstreams: [{{name: a, url: http://a}}]")
    assert load(file).warnings == ()


@pytest.mark.covers("B-291")
@pytest.mark.parametrize(
    ("tls", "complaint"),
    [
        ("cert_file: {crt}", "listen.tls.key_file: needed with listen.tls.cert_file"),
        ("key_file: {key}", "listen.tls.cert_file: needed with listen.tls.key_file"),
        ("client_ca_file: {ca}", "listen.tls.cert_file: needed with listen.tls.client_ca_file"),
        (
            "cert_file: {crt}, key_file: {other}",
            "listen.tls.cert_file: {crt} and {other}: the key does not belong to the",
        ),
        (
            "cert_file: {key}, key_file: {crt}",
            "listen.tls.cert_file: {key} and {crt}: they are not a certificate and its",
        ),
        (
            "cert_file: {crt}, key_file: {key}, client_ca_file: {key}",
            "listen.tls.cert_file: {crt} and {key} and {key}: the",
        ),
        ("cert_file: {crt}/x, key_file: {key}", "listen.tls.cert_file: there is no such file"),
    ],
)
def test_files_for_tls_that_do_not_fit_are_found_before_the_start(tmp_path, tls, complaint):
    authority, names = Authority(), {}
    server, other = authority.issue("localhost"), authority.issue("localhost")
    files = {"ca": authority.certificate, "crt": server.certificate, "key": server.key, "other": other.key}
    for name, contents in files.items():
        (tmp_path / name).write_bytes(contents)
        names[name] = str(tmp_path / name)
    assert only(tmp_path, f"listen: {{tls: {{{tls.format(**names)}}}}}").startswith(complaint.format(**names))


@pytest.mark.covers("B-291")
@pytest.mark.parametrize(
    ("upstream", "complaint"),
    [
        ("url: 'http://a', tls: {ca_file: {ca}}", "tls.ca_file: http:// is plaintext; use https://"),
        ("url: 'https://a', tls: {cert_file: {crt}}", "tls.key_file: needed with tls.cert_file"),
        ("url: 'grpcs://a:1', tls: {ca_file: {key}}", "tls.ca_file: {key}: the authorities are no certificates in PEM"),
        ("command: [a], tls: {ca_file: {ca}}", "tls.ca_file: a command is not reached over TLS"),
    ],
)
def test_tls_of_an_upstream_has_to_make_sense(tmp_path, upstream, complaint):
    authority = Authority()
    server = authority.issue("localhost")
    for name, contents in {"ca": authority.certificate, "crt": server.certificate, "key": server.key}.items():
        (tmp_path / name).write_bytes(contents)
        upstream = upstream.replace(f"{{{name}}}", str(tmp_path / name))
        complaint = complaint.replace(f"{{{name}}}", str(tmp_path / name))
    assert only(tmp_path, f"upstreams: [{{name: a, {upstream}}}]") == f"upstreams[0].{complaint}"


def test_loopback_and_unix_and_off_are_closed_doors():
    flags = {"grpc": "unix:///run/a,[::1]:1,localhost:1,127.0.0.2:1", "http": "off", "upstream": ["a=http://a"]}
    assert load(None, {}, flags).warnings == ()


def test_keys_without_effect_and_missing_upstreams_are_warned_about():
    assert load(None, {"MCP_SIDECAR_AUTH_ISSUER": "me"}).warnings == (
        "auth.issuer has no effect in mode none",
        "no upstreams are configured, so there is nothing to call; add one with --upstream NAME=URL",
    )


def test_a_flag_that_is_no_pair_says_how_one_looks():
    with pytest.raises(BadConfiguration) as raised:
        load(None, {}, {"upstream": ["http://a", "=http://a"]})
    assert [problem.path for problem in raised.value.problems] == ["upstreams", "upstreams[0].name"]
    assert "NAME=URL" in raised.value.problems[0].message


def test_problems_are_written_as_compilers_do():
    problems = [Problem("a.b", "is wrong", "config.yaml", 12), Problem("", "unknown variable", "environment X")]
    assert format_problems(problems) == "config.yaml:12: a.b: is wrong\nenvironment X: unknown variable"


def test_no_text_of_the_file_can_steer_the_terminal(tmp_path):
    nasty = '"\\e[31m\\n\\u202e"'
    for text in (
        f"{nasty}: 1",
        f"log: {{level: {nasty}}}",
        f"pool: {{idle: {nasty}}}",
        f"*{'x' * 99}",
        f"!{'x' * 99} y",
    ):
        assert all(complaint.isprintable() for complaint in complaints(tmp_path, text))


@pytest.mark.covers("B-233")
@pytest.mark.parametrize("mode", ["off", "dns"])
def test_a_required_upstream_must_be_one_that_can_be_known(tmp_path, mode):
    text = f"upstreams: [{{name: a, url: http://a/mcp}}]\nstart: {{require: [a, b]}}\ndiscovery: {{mode: {mode}}}"
    assert only(tmp_path, text).startswith('start.require: no upstream is called "b"; known: a')
