"""Just enough GraphQL to answer the W&B client: parse a document, and select from plain data.

Used by the loopback server only. Imports the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>[\s,]+|\#[^\n]*)
      | (?P<spread>\.\.\.)
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[_A-Za-z]\w*)
      | (?P<punctuation>[{}()\[\]:!=$@])""",
    re.VERBOSE,
)

Resolver = Callable[[str, dict[str, Any]], Any]


class GraphQLError(Exception):
    """The document cannot be parsed, or asks for a field that the server does not know."""


@dataclass
class Field:
    """One selected field: its name, the key of its answer, its arguments and selections."""

    name: str
    key: str
    arguments: dict[str, Any]
    selections: list[Any] = field(default_factory=list)
    directives: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Spread:
    """A fragment, named or inline. Its type condition is not checked."""

    name: str | None
    selections: list[Any]
    directives: list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Variable:
    """A `$name` whose value comes with the request."""

    name: str


@dataclass
class Document:
    """One operation and the fragments that it uses."""

    kind: str
    name: str
    selections: list[Any]
    fragments: dict[str, list[Any]]


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = [
            (match.lastgroup or "", match.group())
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "skip"
        ]
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        text = self.peek()
        if not text or (expected is not None and text != expected):
            raise GraphQLError(f"expected {expected or 'a token'}, found {text or 'the end'}")
        self.position += 1
        return text

    def document(self) -> Document:
        document: Document | None = None
        fragments: dict[str, list[Any]] = {}
        while self.peek():
            word = "query" if self.peek() == "{" else self.take()
            if word == "fragment":
                name = self.take()
                self.take("on")
                self.take()
                self.directives()
                fragments[name] = self.selection_set()
            else:
                name = self.take() if self.peek() not in ("{", "(", "@") else ""
                self.variable_definitions()
                self.directives()
                document = Document(word, name, self.selection_set(), fragments)
        if document is None:
            raise GraphQLError("no operation in the document")
        return document

    def variable_definitions(self) -> None:
        if self.peek() != "(":
            return
        depth = 0
        while True:
            depth += {"(": 1, ")": -1}.get(self.take(), 0)
            if depth == 0:
                return

    def selection_set(self) -> list[Any]:
        self.take("{")
        selections: list[Any] = []
        while self.peek() != "}":
            selections.append(self.spread() if self.peek() == "..." else self.field())
        self.take("}")
        return selections

    def spread(self) -> Spread:
        self.take("...")
        name = None
        if self.peek() == "on":
            self.take()
            self.take()
        elif self.peek() not in ("{", "@"):
            name = self.take()
        directives = self.directives()
        return Spread(name, self.selection_set() if name is None else [], directives)

    def field(self) -> Field:
        key = name = self.take()
        if self.peek() == ":":
            self.take()
            name = self.take()
        arguments = self.arguments()
        directives = self.directives()
        selections = self.selection_set() if self.peek() == "{" else []
        return Field(name, key, arguments, selections, directives)

    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self.peek() == "(":
            self.take()
            while self.peek() != ")":
                name = self.take()
                self.take(":")
                arguments[name] = self.value()
            self.take(")")
        return arguments

    def directives(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while self.peek() == "@":
            self.take()
            found.append((self.take(), self.arguments()))
        return found

    def value(self) -> Any:
        kind, text = self.tokens[self.position]
        self.position += 1
        if text == "$":
            return Variable(self.take())
        if text == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
            self.take("]")
            return items
        if text == "{":
            fields = {}
            while self.peek() != "}":
                name = self.take()
                self.take(":")
                fields[name] = self.value()
            self.take("}")
            return fields
        if kind == "string":
            return text[1:-1]
        if kind == "number":
            return float(text) if re.search(r"[.eE]", text) else int(text)
        return {"true": True, "false": False, "null": None}.get(text, text)


def parse(text: str) -> Document:
    """Parse the operation (and fragments) of a GraphQL document."""
    return _Parser(text).document()


def execute(document: Document, variables: Mapping[str, Any], resolve: Resolver) -> dict[str, Any]:
    """Answer a document, with `resolve` giving plain data for each root field.

    Data consists of dicts, lists and scalars. A callable in a dict is called with the field's
    arguments. Fields that the data lacks are answered with null.
    """

    def fill(value: Any) -> Any:
        if isinstance(value, Variable):
            return variables.get(value.name)
        if isinstance(value, dict):
            return {name: fill(item) for name, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value

    def wanted(directives: list[tuple[str, dict[str, Any]]]) -> bool:
        for name, arguments in directives:
            if name in ("include", "skip") and bool(fill(arguments)["if"]) is (name == "skip"):
                return False
        return True

    def flatten(selections: list[Any]) -> list[Field]:
        fields: list[Field] = []
        for selection in selections:
            if not wanted(selection.directives):
                continue
            if isinstance(selection, Field):
                fields.append(selection)
            else:
                inner = document.fragments[selection.name] if selection.name else None
                fields += flatten(selection.selections if inner is None else inner)
        return fields

    def project(data: Any, selections: list[Any]) -> Any:
        if isinstance(data, list):
            return [project(item, selections) for item in data]
        if data is None or not selections:
            return data
        answer: dict[str, Any] = {}
        for item in flatten(selections):
            value = data.get(item.name)
            if callable(value):
                value = value(**fill(item.arguments))
            projected = project(value, item.selections)
            if isinstance(projected, dict) and isinstance(answer.get(item.key), dict):
                projected = {**answer[item.key], **projected}
            answer[item.key] = projected
        return answer

    return {
        item.key: project(resolve(item.name, fill(item.arguments)), item.selections)
        for item in flatten(document.selections)
    }
