"""What the demo server offers: tools, a resource, a prompt; knows no MCP message and no era."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]
Report = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller of progress: how much, of how much, in words."""

_WEATHER = ("sun", "clouds", "rain", "snow", "fog", "thunder")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOST = 100


class BadArguments(Exception):
    """What the caller gave cannot be used; the sentence goes back as the tool's own failure."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is described, and the function that runs it."""

    description: JsonObject
    run: Callable[[Mapping[str, Any], Report, float], Awaitable[JsonObject]]


async def echo(arguments: Mapping[str, Any], _report: Report, _pace: float) -> JsonObject:
    """What goes in comes out."""
    return _text(_wanted(arguments, "text", str))


async def add(arguments: Mapping[str, Any], _report: Report, _pace: float) -> JsonObject:
    """Arithmetic."""
    total = _wanted(arguments, "a", (int, float)) + _wanted(arguments, "b", (int, float))
    return _text(f"{total}")


async def countdown(arguments: Mapping[str, Any], report: Report, pace: float) -> JsonObject:
    """Takes its time and says so: `pace` is seconds a step."""
    start = _wanted(arguments, "from", int)
    if not 1 <= start <= _MOST:
        raise BadArguments(f"from: expected 1 to {_MOST}")
    for step in range(start):
        await report(step, start, f"{start - step} …")
        await asyncio.sleep(pace)
    await report(start, start, "lift-off")
    return _text(f"counted down from {start}")


async def forecast(arguments: Mapping[str, Any], _report: Report, _pace: float) -> JsonObject:
    """Weather from the name of the city alone: the same every time, and no better than that."""
    city, days = _wanted(arguments, "city", str), _wanted({"days": 3, **arguments}, "days", int)
    if not 1 <= days <= len(_DAYS):
        raise BadArguments(f"days: expected 1 to {len(_DAYS)}")
    luck = hashlib.sha256(city.strip().lower().encode()).digest()
    week = [
        {"day": day, "weather": _WEATHER[number % len(_WEATHER)], "celsius": number % 35 - 5}
        for day, number in zip(_DAYS[:days], luck, strict=False)
    ]
    structured = {"city": city, "days": week}
    return {**_text(json.dumps(structured, ensure_ascii=False)), "structuredContent": structured}


def _text(text: str) -> JsonObject:
    return {"content": [{"type": "text", "text": text}]}


def _wanted(arguments: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    value = arguments.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise BadArguments(f"{name}: expected {' or '.join(one.__name__ for one in kinds)}")
    return value


def _described(name: str, sentence: str, properties: JsonObject, required: list[str], **more: Any) -> JsonObject:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    annotations = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
    return {"name": name, "description": sentence, "inputSchema": schema, "annotations": annotations, **more}


_DAY = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "weather": {"type": "string"}, "celsius": {"type": "integer"}},
    "required": ["day", "weather", "celsius"],
}
_FORECAST = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": _DAY}},
    "required": ["city", "days"],
}

TOOLS: Mapping[str, Tool] = {
    tool.description["name"]: tool
    for tool in (
        Tool(_described("echo", "Says what you said.", {"text": {"type": "string"}}, ["text"]), echo),
        Tool(
            _described("add", "Adds two numbers.", {"a": {"type": "number"}, "b": {"type": "number"}}, ["a", "b"]), add
        ),
        Tool(
            _described(
                "countdown",
                "Counts down to lift-off and reports progress on the way.",
                {"from": {"type": "integer", "minimum": 1, "maximum": _MOST}},
                ["from"],
            ),
            countdown,
        ),
        Tool(
            _described(
                "forecast",
                "A weather forecast made up from the name of the city, as structured data.",
                {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 3}},
                ["city"],
                outputSchema=_FORECAST,
            ),
            forecast,
        ),
    )
}

WELCOME_URI = "demo://welcome"
WELCOME = {
    "uri": WELCOME_URI,
    "name": "welcome",
    "title": "Welcome",
    "description": "A greeting from the demo server.",
    "mimeType": "text/plain",
}
WELCOME_TEXT = "Welcome! You are reading a resource of an MCP server, through the sidecar."

PROMPT = {
    "name": "pack-my-bag",
    "description": "Asks a model what to pack for a trip.",
    "arguments": [{"name": "city", "description": "Where the trip goes.", "required": True}],
}


def prompt_text(city: str) -> str:
    """The prompt, filled in."""
    return f"I am going to {city} for three days. Ask the forecast tool for the weather, then say what I should pack."
