"""The beginnings of conversations, `protocol.handshake`, and the tables of eras."""

from __future__ import annotations

import json

import msgspec
import pytest

from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import eras, handshake, jsonrpc
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.handshake import ServerProfile, discovered, initialized


def result(**members: object) -> bytes:
    return msgspec.json.encode(members)


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("2026-07-28", Era.MODERN),
        ("2025-11-25", Era.LEGACY),
        ("2025-06-18", Era.LEGACY),
        ("2025-03-26", Era.LEGACY),
        ("2024-11-05", Era.LEGACY),
        ("auto", None),
        ("2026-07-29", None),
        ("", None),
    ],
)
def test_every_revision_has_its_era(version: str, era: Era | None):
    assert eras.era_of(version) is era


@pytest.mark.covers("B-23")
def test_a_tool_call_is_never_among_what_may_be_asked_twice():
    assert eras.CALL_TOOL not in eras.REPEATABLE
    assert {"tools/list", "resources/read", "prompts/get", "completion/complete"} <= eras.REPEATABLE
    assert eras.LISTEN not in eras.REPEATABLE | eras.SHARED_METHODS


def test_what_opens_a_conversation_is_well_formed():
    for request in (handshake.discover_request(), handshake.initialize_request("2025-11-25", b'{"roots":{}}')):
        again = jsonrpc.parse_request(request.encode(b"1"))
        assert (again.method, again.params, again.meta) == (request.method, request.params, request.meta)
    opening = json.loads(handshake.initialize_request("2025-06-18", b'{"roots":{}}').encode(b"1"))["params"]
    assert opening["protocolVersion"] == "2025-06-18"
    assert opening["capabilities"] == {"roots": {}}
    assert set(opening["clientInfo"]) == {"name", "version"}
    meta = json.loads(handshake.discover_request().encode(b"1"))["params"]["_meta"]
    assert meta[eras.META_VERSION] == "2026-07-28" and meta[eras.META_CAPABILITIES] == {}


def test_a_modern_server_is_known_by_what_it_says_of_itself():
    capabilities, info = {"tools": {"listChanged": True}, "x-odd": {"n": 1}}, {"name": "s", "version": "3"}
    said = result(
        supportedVersions=["2027-01-01", "2026-07-28"],
        capabilities=capabilities,
        instructions="Be nice.",
        _meta={eras.META_SERVER: info},
    )
    profile = discovered(said)
    assert profile is not None
    assert (profile.version, profile.title) == ("2026-07-28", ("s", "3"))
    assert json.loads(profile.capabilities) == capabilities
    assert profile.instructions == b'"Be nice."'


def test_an_early_modern_server_gives_its_name_beside_its_capabilities():
    said = result(supportedVersions=["2026-07-28"], serverInfo={"name": "early", "version": "0"})
    profile = discovered(said)
    assert profile is not None
    assert profile.title == ("early", "0")
    assert profile.capabilities == b"{}"


@pytest.mark.parametrize("versions", [[], ["2025-11-25"], ["2099-01-01"]])
def test_a_server_without_a_revision_we_share_has_no_profile(versions: list[str]):
    assert discovered(result(supportedVersions=versions, capabilities={})) is None


@pytest.mark.parametrize(
    "said",
    [b"", b"null", b"[]", b"{}", b'{"supportedVersions":"2026-07-28"}', b'{"supportedVersions":[1]}'],
)
def test_a_server_that_names_no_revisions_has_no_profile(said: bytes):
    assert discovered(said) is None


@pytest.mark.parametrize(
    ("error", "version"),
    [
        (b'{"code":-32022,"data":{"supported":["2027-01-01","2026-07-28"]}}', "2026-07-28"),
        (b'{"code":-32022,"data":{"supported":["2025-11-25"]}}', None),
        (b'{"code":-32022,"data":{"supported":"2026-07-28"}}', None),
        (b'{"code":-32022}', None),
        (b"", None),
    ],
)
def test_the_refusal_of_a_revision_may_name_one_that_we_share(error: bytes, version: str | None):
    assert handshake.shared_version(error) == version


@pytest.mark.covers("B-15")
@pytest.mark.parametrize(
    "said",
    [
        b'{"supportedVersions":["2026-07-28"],"capabilities":[]}',
        b'{"supportedVersions":["2026-07-28"],"capabilities":null}',
        b'{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"tools":{}}}',
        b'{"supportedVersions":["2026-07-28"],"_meta":1}',
        b'{"supportedVersions":["2026-07-28"],"a":1,"a":2}',
    ],
)
def test_a_discovery_that_is_none_is_refused(said: bytes):
    with pytest.raises(InvalidCall):
        discovered(said)


@pytest.mark.parametrize("version", eras.LEGACY_VERSIONS)
def test_a_legacy_server_may_choose_any_revision_of_its_era(version: str):
    said = result(protocolVersion=version, capabilities={"logging": {}}, serverInfo={"name": "old"}, instructions="x")
    profile = initialized(said)
    assert profile == ServerProfile(version, b'{"logging":{}}', b'{"name":"old"}', b'"x"')
    assert profile.title == ("old", "")


@pytest.mark.covers("B-15")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"7",
        b"{}",
        b'{"protocolVersion":20251125}',
        b'{"protocolVersion":"2026-07-28"}',
        b'{"protocolVersion":"1999-01-01"}',
        b'{"protocolVersion":"2025-11-25","capabilities":"tools"}',
        b'{"protocolVersion":"2025-11-25","capabilities":[]}',
        b'{"protocolVersion":"2025-11-25","capabilities":{"a":1,"a":1}}',
        b'{"protocolVersion":"2025-11-25","protocolVersion":"2025-11-25"}',
    ],
)
def test_an_initialize_result_that_is_none_is_refused(said: bytes):
    with pytest.raises(InvalidCall):
        initialized(said)


@pytest.mark.parametrize("info", [b"", b"null", b"[]", b'{"name":1}', b'"me"'])
def test_a_server_without_a_proper_name_has_an_empty_one(info: bytes):
    assert ServerProfile("2025-11-25", info=info).title == ("", "")
