"""`mcp-sidecar status`: servers and connections as tables or JSON; knows the fields of `ConnectionManager`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mcp_sidecar.cli.arguments import Parser, add_output, add_sidecar
from mcp_sidecar.cli.session import with_sidecar
from mcp_sidecar.cli.tables import plain, table, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from mcp_sidecar.client import Connection, Server, SidecarClient


def parser() -> Parser:
    """Where to ask, how to print."""
    parser = Parser("status", more="  mcp-sidecar status -o json | jq '.connections[].state'\n")
    add_sidecar(parser)
    parser.add_argument(
        "--watch", action="store_true", help="stay until Ctrl-C: a table that refreshes, or in a pipe a line a change"
    )
    add_output(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Print once, or stay and print every change."""
    if not options.watch:
        return with_sidecar(options, lambda client: _once(client, options.output))
    try:
        return with_sidecar(options, lambda client: _watch(client, options.output))
    except KeyboardInterrupt:
        return 0  # how watching ends


async def _watch(client: SidecarClient, output: str) -> int:
    from mcp_sidecar.cli import watch  # here, because `--help` needs none of it
    from mcp_sidecar.cli.news import News

    if output == "table" and sys.stdout.isatty():
        await watch.screen(lambda: _read(client))
    as_json = output == "json"
    news = News(client, as_json=as_json)
    await watch.lines(news.look, lambda: _changes(client, output), as_json=as_json)


async def _once(client: SidecarClient, output: str) -> int:
    servers, connections = await client.list_servers(), await client.list_connections()
    if output == "json":
        shown = {"servers": list(map(server_row, servers)), "connections": list(map(_connection, connections))}
        print(to_json(shown))
    else:
        print(_tables(servers, connections))
    return 0


async def _read(client: SidecarClient) -> str:
    phase = await client.phase()
    tables = _tables(await client.list_servers(), await client.list_connections())
    return f"the sidecar is {phase}\n\n{tables}" if phase else tables


def versions_of(row: dict[str, Any]) -> str:
    return ", ".join(sorted({end["protocol_version"] for end in row["endpoints"]} - {""}))


async def _changes(client: SidecarClient, output: str) -> AsyncIterator[str]:
    """For pipes: a line a change. The tables of a moment would be hard to follow there."""
    async for change in client.watch_connections():
        row = _connection(change.connection)
        if output == "json":
            yield json.dumps({"initial": change.initial, "connection": row}, ensure_ascii=False)
        else:
            parts = (row["since"], row["server"], row["id"], row["state"], row["endpoint"], row["last_error"])
            yield plain(" ".join(part for part in parts if part))


def _tables(servers: list[Server], connections: list[Connection]) -> str:
    if not servers:
        return "no MCP servers; give some with `mcp-sidecar serve --upstream NAME=URL`, or see discovery.mode"
    head = ("SERVER", "STATE", "CONNECTIONS", "PROTOCOL", "URL", "ENDPOINTS", "ORIGIN", "LAST ERROR")
    rows = []
    for server in map(server_row, servers):
        what = (server["name"], server["state"], str(server["connections"]), versions_of(server) or "-")
        where = (server["url"], _counted(server["endpoints"]), server["origin"] or "configuration")
        rows.append((*what, *where, server["last_error"]))
    text = table(head, rows, ("URL", "ORIGIN", "ENDPOINTS", "CONNECTIONS", "PROTOCOL"))
    if not connections:
        return f"{text}\n\nno connections: they are opened when they are needed"
    columns = ("CONNECTION", "SERVER", "ENDPOINT", "STATE", "FOR", "PROTOCOL", "IN FLIGHT", "CALLS", "LAST ERROR")
    lines = []
    for row in map(_connection, connections):
        busy, calls = str(row["in_flight"]), str(row["calls"])
        names = (row["id"], row["server"], row["endpoint"], row["state"])
        lines.append((*names, _age(row["since"]), row["protocol_version"] or "-", busy, calls, row["last_error"]))
    spare = ("ENDPOINT", "PROTOCOL", "FOR", "CALLS")
    return f"{text}\n\n{table(columns, lines, spare)}"


def _counted(endpoints: list[dict[str, Any]]) -> str:
    """How many, and what is to be said of some: `3 (1 leaving)`."""
    said = [
        f"{n} {state}" for state in ("avoided", "leaving") if (n := [one["state"] for one in endpoints].count(state))
    ]
    return f"{len(endpoints)} ({', '.join(said)})" if said else str(len(endpoints))


def server_row(server: Server) -> dict[str, Any]:
    from mcp_sidecar.client import EndpointState, ServerState

    return {
        "name": server.name,
        "url": server.url,
        "transport": server.transport,
        "state": ServerState.Name(server.state).removeprefix("SERVER_STATE_").lower(),
        "endpoints": [
            {
                "address": end.address,
                "state": EndpointState.Name(end.state).removeprefix("ENDPOINT_STATE_").lower(),
                "in_flight": end.in_flight,
                "protocol_version": end.protocol_version,
                "probed": _time(end.probed),
            }
            for end in server.endpoints
        ],
        "connections": server.connections,
        "last_error": server.last_error,
        "title": server.title,
        "version": server.version,
        "origin": server.origin,
    }


def _connection(connection: Connection) -> dict[str, Any]:
    from mcp_sidecar.client import ConnectionState

    return {
        "id": connection.id,
        "server": connection.server,
        "endpoint": connection.endpoint,
        "transport": connection.transport,
        "era": connection.era,
        "protocol_version": connection.protocol_version,
        "state": ConnectionState.Name(connection.state).removeprefix("CONNECTION_STATE_").lower(),
        "since": _time(connection.since),
        "in_flight": connection.in_flight,
        "lru_rank": connection.lru_rank,
        "last_error": connection.last_error,
        "last_used": _time(connection.last_used),
        "calls": connection.calls,
    }


def _time(stamp: Timestamp) -> str:
    return stamp.ToJsonString() if stamp.seconds else ""


def _age(since: str) -> str:
    """How long ago, in the one unit that matters."""
    if not since:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
