"""Which word runs what, and what bad usage gets."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mcp_sidecar.cli import COMMANDS, main
from tests.support.terminal import typed


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_names_every_command_with_an_example(words, capsys):
    assert main(words) == 0
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in shown
        assert command.example in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_its_example_and_ends_well(name, capsys):
    assert main([name, "--help"]) == 0
    assert COMMANDS[name].example in capsys.readouterr().out
    assert main(["help", name]) == 0


def test_nothing_typed_is_bad_usage_and_gets_the_help(capsys):
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "hint"), [("stats", 'did you mean "status"?'), ("hub", "commands are serve, demo")])
def test_an_unknown_command_names_the_nearest_one_or_all(word, hint, capsys):
    assert main([word]) == 2
    assert hint in capsys.readouterr().err


def test_commands_that_do_not_exist_yet_are_not_in_the_help(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert "hub" not in shown


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["call", "demo"], "the following arguments are required: TOOL"),
        (["tools", "--address", "nowhere"], '"nowhere" is not an address'),
        (["tools", "--address", "a:99999"], "is not an address"),
        (["drain", "--wait", "soon"], '"soon" is not a number of seconds'),
        (["drain", "--wait", "nan"], '"nan" is not a number of seconds'),
        (["status", "-o", "xml"], "invalid choice: 'xml'"),
        (["check", "--config"], "expected one argument"),
        (["serve", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_usage_is_exit_code_2_with_what_to_type_next(words, complaint, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert f'Try "mcp-sidecar {words[0]} --help"' in said


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mcp-sidecar 0.")


def test_a_bug_is_one_line_and_not_a_traceback(capsys, monkeypatch):
    from mcp_sidecar.cli import tools

    def break_down(_options):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(tools, "run", break_down)
    assert main(["tools"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("mcp-sidecar: this is a bug, please report it: ZeroDivisionError: oh (test_main.py:")
    assert said.count("\n") == 1


async def test_a_reader_that_has_enough_is_no_error_to_talk_about():
    process = await asyncio.create_subprocess_shell(
        f'{sys.executable} -c "from mcp_sidecar.cli import main; import sys; sys.exit(main())" --help | true',
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await process.communicate() == (b"", b"")


async def test_the_help_and_the_drain_start_without_anything_heavy():
    for words in (["--help"], ["call", "--help"], ["drain", "--address", "127.0.0.1:1"]):
        program = (
            f"import sys; from mcp_sidecar.cli import main; main({words!r});"
            "print('HEAVY', [m for m in ('grpc', 'yaml', 'google', 'asyncio', 'msgspec', 'ssl') if m in sys.modules])"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        assert out.decode().splitlines()[-1] == "HEAVY []"


async def test_every_client_command_says_what_to_do_when_no_sidecar_answers():
    for words in (
        ["tools"],
        ["call", "demo", "add", "a=1"],
        ["call", "demo", "add"],
        ["status"],
        ["status", "--watch"],
    ):
        ended = await typed(*words, "--address", "127.0.0.1:1")
        assert ended.code == 69
        assert ended.out == ""
        assert "no sidecar answers" in ended.err
        assert "is `mcp-sidecar serve` running?" in ended.err
