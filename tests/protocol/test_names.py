"""Names of several servers in one list: `protocol.names`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.protocol.names import NEVER, ON_CONFLICT, Names

ALWAYS = "always"
PREFIXES = (ALWAYS, ON_CONFLICT, NEVER)

# Few letters, and the separators among them: whatever can collide does.
NAME = st.text("ab_-.", min_size=1, max_size=6)
ALIAS = st.from_regex(r"[ab]([ab-]{0,3}[ab])?", fullmatch=True)
OFFERED = st.dictionaries(ALIAS, st.lists(NAME, max_size=5), min_size=1, max_size=4)
SEPARATOR = st.sampled_from(("__", "_", "-", ".", "-a"))


@pytest.mark.covers("B-170")
@given(OFFERED, st.sampled_from(PREFIXES), SEPARATOR)
def test_a_shown_name_leads_back_to_its_server_and_its_own_name(offered, prefix, separator):
    names = Names(offered, prefix, separator)
    shown = {(server, name): names.shown(server, name) for server, own in offered.items() for name in own}
    visible = [said for said in shown.values() if said is not None]
    assert len(visible) == len(set(visible))
    for owned, said in shown.items():
        assert said is None or names.find(said) == owned


@pytest.mark.covers("B-171")
@given(OFFERED, st.sampled_from(PREFIXES), SEPARATOR)
def test_a_name_with_a_servers_prefix_is_never_another_servers(offered, prefix, separator):
    names = Names(offered, prefix, separator)
    for server, own in offered.items():
        for name in own:
            found = names.find(names.prefixed(server, name))
            if prefix != NEVER:
                # Where two spellings coincide the longest name of a server is meant.
                assert found is not None and len(found[0]) >= len(server)


@given(OFFERED, SEPARATOR)
def test_without_conflicts_nothing_is_renamed_unless_it_shadows_another_server(offered, separator):
    names = Names(offered, ON_CONFLICT, separator)
    for server, own in offered.items():
        for name in own:
            alone = len(names.servers_of(name)) == 1
            shadows = any(name.startswith(alias + separator) for alias in offered)
            if alone and not shadows:
                assert names.shown(server, name) == name


@pytest.mark.covers("B-170")
@pytest.mark.parametrize(
    ("prefix", "search", "read"),
    [(ALWAYS, "a__search", "b__read"), (ON_CONFLICT, "a__search", "read"), (NEVER, None, "read")],
)
def test_the_prefix_is_put_in_front_when_the_setting_says_so(prefix, search, read):
    names = Names({"a": ["search"], "b": ["search", "read"]}, prefix, "__")
    assert (names.shown("a", "search"), names.shown("b", "read")) == (search, read)
    assert names.find("search") is None
    assert names.servers_of("search") == ["a", "b"]


@pytest.mark.covers("B-171")
def test_a_server_cannot_pass_its_tool_off_as_anothers():
    names = Names({"a": ["search"], "b": ["a__search", "b__x", "x"]}, ON_CONFLICT, "__")
    assert names.find("a__search") == ("a", "search")
    assert names.shown("b", "a__search") == "b__a__search"
    assert names.find("b__x") == ("b", "x")
    assert names.find("b__b__x") == ("b", "b__x")


def test_the_longest_name_of_a_server_is_meant_where_two_spellings_coincide():
    names = Names({"a": ["b-x"], "a-b": ["x"]}, ALWAYS, "-")
    assert names.find("a-b-x") == ("a-b", "x")
    assert names.shown("a", "b-x") is None


def test_the_prefixed_form_is_understood_where_the_plain_one_is_shown():
    names = Names({"a": ["echo"], "b": ["read"]}, ON_CONFLICT, "__")
    assert names.find("a__echo") == names.find("echo") == ("a", "echo")
    assert names.find("b__echo") is None
    assert Names({"a": ["echo"]}, NEVER, "__").find("a__echo") is None


def test_the_nearest_name_is_one_that_is_shown():
    names = Names({"a": ["forecast"], "b": ["read"]}, ON_CONFLICT, "__")
    assert names.nearest("forcast") == "forecast"
    assert names.nearest("zzz") == ""
