"""Reads the CEL that the policy uses and works it out for one pod, as the API server would. Knows no policy.

Object types are checked: a field's object has to be of the type that its path says, which the API server asks for too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\|\||&&|==|!=|[-+!?:.,(){}\[\]]))"
)
Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]


class Unreadable(Exception):
    """Not the CEL of the policy, or it does not work out."""


@dataclass(frozen=True)
class TypePath:
    """A type, as `Object.spec.initContainers`."""

    path: str


class Typed(dict):
    """An object with the type it was made with."""

    def __init__(self, path: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.path = path


def evaluate(text: str, scope: Scope) -> Any:
    reader = _Reader(text)
    expression = reader.expression()
    reader.expect("")
    return expression(scope)


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Unreadable(text[place : place + 40])
        found.append(match.group().strip())
        place = match.end()
    return [*found, ""]


class _Reader:
    """Recursive descent; every method gives a function of the names in scope, so that only one branch is worked out."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._place = 0

    def expression(self) -> Expression:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        then = self.expression()
        self.expect(":")
        otherwise = self.expression()
        return lambda scope: then(scope) if _truth(condition(scope)) else otherwise(scope)

    def expect(self, token: str) -> None:
        if not self._take(token):
            raise Unreadable(f"expected {token!r} before {self._tokens[self._place : self._place + 6]}")

    def _take(self, token: str) -> bool:
        taken = self._tokens[self._place] == token
        self._place += taken
        return taken

    def _next(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]

    _LEVELS = (("||",), ("&&",), ("==", "!=", "in"), ("+",))

    def _binary(self, level: int) -> Expression:
        if level == len(self._LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._tokens[self._place] in self._LEVELS[level]:
            left = _joined(self._next(), left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._take("!"):
            inner = self._unary()
            return lambda scope: not _truth(inner(scope))
        return self._postfix(self._primary())

    def _primary(self) -> Expression:
        token = self._next()
        if token == "(":
            inner = self.expression()
            self.expect(")")
            return inner
        if token == "[":
            items = self._several("]", self.expression)
            return lambda scope: [item(scope) for item in items]
        if token == "{":
            pairs = self._several("}", self._pair)
            return lambda scope: {key(scope): value(scope) for key, value in pairs}
        if token.startswith('"') or token.isdigit() or token in {"true", "false"}:
            return lambda _scope: json.loads(token)
        if self._take("("):
            return self._function(token)
        return lambda scope: TypePath(token) if token in {"Object", "JSONPatch"} else scope[token]

    def _function(self, name: str) -> Expression:
        (argument,) = self._several(")", self.expression)
        if name == "has":
            return lambda scope: _present(argument, scope)
        return {"string": lambda scope: str(argument(scope)), "size": lambda scope: len(argument(scope))}[name]

    def _postfix(self, value: Expression) -> Expression:
        while True:
            if self._take("."):
                value = self._member(value, self._next())
            elif self._take("["):
                key = self.expression()
                self.expect("]")
                value = _subscript(value, key)
            elif self._tokens[self._place] == "{" and _is_type(value):
                self.expect("{")
                value = _constructed(value, self._several("}", self._field))
            else:
                return value

    def _member(self, value: Expression, name: str) -> Expression:
        if not self._take("("):
            return lambda scope: _get(value(scope), name)
        if name == "exists":
            variable = self._next()
            self.expect(",")
            (test,) = self._several(")", self.expression)
            return lambda scope: any(_truth(test({**scope, variable: item})) for item in value(scope))
        (argument,) = self._several(")", self.expression)
        if name == "matches":
            return lambda scope: re.search(argument(scope), value(scope)) is not None
        if name == "escapeKey":
            return lambda scope: argument(scope).replace("~", "~0").replace("/", "~1")
        raise Unreadable(name)

    def _several(self, end: str, read: Callable[[], Any]) -> list[Any]:
        found = []
        while not self._take(end):
            found.append(read())
            if not self._take(","):
                self.expect(end)
                break
        return found

    def _pair(self) -> tuple[Expression, Expression]:
        key = self.expression()
        self.expect(":")
        return key, self.expression()

    def _field(self) -> tuple[str, Expression]:
        name = self._next()
        self.expect(":")
        return name, self.expression()


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(f"{value!r} is not a truth value")
    return value


def _is_type(value: Expression) -> bool:
    try:
        return isinstance(value({}), TypePath)
    except (KeyError, AttributeError):
        return False


def _get(value: Any, name: str) -> Any:
    return TypePath(f"{value.path}.{name}") if isinstance(value, TypePath) else value[name]


def _subscript(value: Expression, key: Expression) -> Expression:
    return lambda scope: value(scope)[key(scope)]


def _present(argument: Expression, scope: Scope) -> bool:
    try:
        argument(scope)
    except KeyError:
        return False
    return True


def _constructed(kind: Expression, fields: list[tuple[str, Expression]]) -> Expression:
    path = kind({}).path

    def make(scope: Scope) -> Typed:
        made = Typed(path, {name: value(scope) for name, value in fields})
        for name, value in made.items():
            _check(f"{path}.{name}", value)
        return made

    return make


def _check(path: str, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _check(path, item)
    elif isinstance(value, Typed) and path not in {"JSONPatch.value", value.path}:
        raise Unreadable(f"{path} is given an object of type {value.path}")


def _joined(sign: str, left: Expression, right: Expression) -> Expression:
    if sign == "||":
        return lambda scope: _truth(left(scope)) or _truth(right(scope))
    if sign == "&&":
        return lambda scope: _truth(left(scope)) and _truth(right(scope))
    if sign == "in":
        return lambda scope: left(scope) in right(scope)
    if sign == "+":
        return lambda scope: left(scope) + right(scope)
    return lambda scope: (left(scope) == right(scope)) is (sign == "==")
