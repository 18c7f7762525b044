"""A child process and the messages on its standard streams, one a line; knows no era and no exchange.

(MCP 2026-07-28 and 2025-11-25, basic/transports/stdio: no newline within a message, logs on stderr, the end by closing
stdin, then SIGTERM, then SIGKILL.)
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import Callable

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Command
from mcp_sidecar.errors import Execution, UpstreamLost, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.chatter import Chatter
from mcp_sidecar.outbound.guardian import Guardian
from mcp_sidecar.protocol import spoken
from mcp_sidecar.protocol.lines import Lines
from mcp_sidecar.protocol.spoken import Line
from mcp_sidecar.tasks import Job

MAX_MESSAGE = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_MOST_NOISE = 100  # lines in a row that are no messages: some servers greet on stdout, none does that for ever
# Together less than the second that closing a link may take.
_ENDING = ((0.5, signal.SIGTERM), (0.25, signal.SIGKILL), (0.15, signal.SIGKILL))
_LAST_WORDS_SECONDS = 0.5  # for what a program that has ended wrote before
_NO_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # outside of strings, where JSON allows none, they are white space


class Child:
    """A running program; implements `stream.Wire`. Make it with `start`.

    `on_exit` is called once, when the program has ended without being asked to.
    """

    def __init__(
        self,
        command: Command,
        guardian: Guardian,
        chatter: Chatter,
        tasks: asyncio.TaskGroup,
        on_exit: Callable[[], None],
    ) -> None:
        self._command = command
        self._guardian = guardian
        self._chatter = chatter
        self._tasks = tasks
        self._on_exit = on_exit
        self._cutter = Lines(MAX_MESSAGE)
        self._waiting: deque[bytes] = deque()
        self._noise = 0
        self._writing = asyncio.Lock()
        self._ending: Job[None] | None = None
        self.started_at = time.monotonic()

    async def start(self) -> None:
        """Raises `UpstreamUnavailable` when there is no such program."""
        loop = asyncio.get_running_loop()
        mark = self._guardian.mark()
        try:
            await self._guardian.ready()
            transport, protocol = await loop.subprocess_exec(
                lambda: SubprocessStreamProtocol(_CHUNK, loop),
                *self._command.words,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=dict((*self._command.env.items(), mark)),
                cwd=self._command.cwd or None,
                start_new_session=True,  # a process group of its own: what the program starts ends with it
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "a zero byte in its command or environment"
            raise UpstreamUnavailable(f"the program of {self._name} cannot be started: {why}") from error
        self._transport = transport
        self._process = Process(transport, protocol, loop)
        self._group = self._process.pid
        self._guardian.watch(self._group, mark)
        self._exit = Job(self._tasks, self._watch(), f"watch {self._command.upstream}")
        self._stderr = Job(self._tasks, self._log_stderr(), f"stderr {self._command.upstream}")

    @property
    def _name(self) -> str:
        return f"the MCP server {self._command.upstream!r}"

    @property
    def running(self) -> bool:
        return self._process.returncode is None and self._ending is None

    async def send(self, message: bytes, call: Call) -> None:
        async with self._writing:  # a child that does not read holds up the callers and not our memory
            if not self.running:
                raise UpstreamUnavailable(f"{self._name} went away")
            assert self._process.stdin is not None  # noqa: S101
            try:
                await self._process.stdin.drain()  # nothing of it is kept here while an earlier message is
                call.execution = Execution.UNKNOWN
                self._process.stdin.write(message.translate(_NO_LINE_ENDS) + b"\n")
                await self._process.stdin.drain()
            except OSError as error:
                raise UpstreamLost(f"{self._name} no longer reads", execution=call.execution) from error

    async def receive(self) -> bytes:
        while not self._waiting:
            chunk = await self._stdout().read(_CHUNK)
            if not chunk:
                raise await self._gone()
            for line in self._cutter.feed(chunk):
                self._take(line)
            if self._cutter.overlong:
                raise self._nonsense(f"a message larger than {MAX_MESSAGE} bytes")
        return self._waiting.popleft()

    def _stdout(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdout

    def _take(self, line: bytes) -> None:
        """Servers that print to stdout are many, and clients bear with them: what cannot be meant as a message is
        logged.
        """
        if spoken.is_usual(line):
            self._noise = 0
            self._waiting.append(line)
        elif line := spoken.bare(line):
            self._take_unusual(line)

    def _take_unusual(self, line: bytes) -> None:
        what = spoken.judge(line)
        if what is Line.MESSAGE:
            self._noise = 0
            self._waiting.append(line)
            return
        # JSON may hold what a call is about, which the log does not show.
        text = line if what is Line.WORDS else b"(%d bytes of JSON that are no JSON-RPC message)" % len(line)
        self._chatter.say("stdout", text)
        self._noise += 1
        if self._noise > _MOST_NOISE:
            raise self._nonsense("its output is no JSON-RPC")

    def _nonsense(self, what: str) -> UpstreamProtocolError:
        return UpstreamProtocolError(f"{self._name} broke the protocol: {what}")

    async def _gone(self) -> UpstreamLost:
        await asyncio.wait({self._exit.task}, timeout=_ENDING[0][0])  # mostly it comes in the same moment
        code = self._process.returncode
        return UpstreamLost(f"{self._name} closed its output" if code is None else f"{self._name} {_ended(code)}")

    async def _watch(self) -> None:
        await self._process.wait()
        self._kill(signal.SIGKILL)  # what it has started and left behind
        self._guardian.end(self._group)
        # Who left the group may still hold the pipes: their end is not to be waited for.
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._transport.close)
        if self._ending is None:
            self._on_exit()

    async def _log_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        lines = self._chatter.lines()
        while chunk := await self._process.stderr.read(_CHUNK):
            for line in lines.feed(chunk):
                self._chatter.say("stderr", line)
        self._chatter.say("stderr", lines.rest())
        self._chatter.settle("stderr")

    def close_idle(self, unused_for: float) -> None:
        """It is one program, which is kept."""

    async def close(self) -> None:
        if self._ending is None:
            self._ending = Job(self._tasks, self._end(), f"end {self._command.upstream}")
        await asyncio.wait({self._ending.task})

    async def _end(self) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            for seconds, number in _ENDING:
                await asyncio.wait({self._exit.task}, timeout=seconds)
                if self._exit.done:
                    break
                self._kill(number)
            await asyncio.wait({self._stderr.task}, timeout=_ENDING[-1][0])
        finally:
            self._transport.close()
            self._stderr.cancel()

    def _kill(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._group, number)
        except OSError:
            pass  # nobody is left, or nobody that is ours to kill


def _ended(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
