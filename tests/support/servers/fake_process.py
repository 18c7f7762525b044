"""The fake server as a process that can be killed: `python -m … ERA PORT` (0 picks one). Prints its port."""

from __future__ import annotations

import asyncio
import sys

from tests.support.fake_server import FakeServer


async def main(era: str, port: int) -> None:
    server = FakeServer(era)  # type: ignore[arg-type]
    server.port = port
    async with server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
