# SPDX-License-Identifier: Apache-2.0
"""The query library: SPARQL in files, with parameters that are values, never text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyoxigraph import Literal

from fleet.errors import InvalidError, NotFoundError
from fleet.graph.store import Answer, GraphStore

FOLDER = Path(__file__).parent / "queries"
_PARAMETER = re.compile(r"^# parameter: (\w+)\s+(.+)$", re.MULTILINE)
_DEFAULT = re.compile(r"^# default: (\w+)=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Query:
    """A query of the library.

    Args:
        name: file name without suffix.
        title: first comment line.
        text: SPARQL.
        parameters: what each one means, by name; names of variables that the caller binds.
        defaults: values of parameters that need not be given.
    """

    name: str
    title: str
    text: str
    parameters: Mapping[str, str]
    defaults: Mapping[str, str]

    def bound(self, given: Mapping[str, str]) -> str:
        """The query with a value for each parameter; integers become numbers.

        A parameter is a variable of the WHERE clause; an escaped literal takes its place, so that
        nothing can be injected.

        Raises:
            InvalidError: one is missing or unknown.
        """
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise InvalidError(
                f"query '{self.name}' has no parameter '{unknown[0]}'", f"Its parameters: {known}."
            )
        values = {**self.defaults, **given}
        missing = [p for p in self.parameters if p not in values]
        if missing:
            meaning = self.parameters[missing[0]]
            raise InvalidError(
                f"query '{self.name}' needs '{missing[0]}': {meaning}",
                f"Give it with --param {missing[0]}=VALUE.",
            )
        head, where, body = self.text.partition("WHERE")
        for name, value in values.items():
            term = str(literal(value))
            body = re.sub(rf"\?{name}\b", lambda _, term=term: term, body)  # type: ignore[misc]
        return head + where + body


def literal(text: str) -> Literal:
    """A number where the text is one, else a string."""
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return Literal(int(text))
    return Literal(text)


def parse(name: str, text: str) -> Query:
    """A query from its file's text."""
    first = text.splitlines()[0] if text else ""
    return Query(
        name,
        first.removeprefix("#").strip() if first.startswith("#") else name,
        text,
        dict(_PARAMETER.findall(text)),
        dict(_DEFAULT.findall(text)),
    )


def list_queries() -> list[Query]:
    """All, by name."""
    return [parse(p.stem, p.read_text(encoding="utf-8")) for p in sorted(FOLDER.glob("*.rq"))]


def find_query(name: str) -> Query:
    """One by name.

    Raises:
        NotFoundError: naming those there are.
    """
    path = FOLDER / f"{name}.rq"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        names = ", ".join(q.name for q in list_queries())
        raise NotFoundError(f"there is no query '{name}' in the library", f"There are: {names}.")
    return parse(name, path.read_text(encoding="utf-8"))


def ask(store: GraphStore, query: Query, given: Mapping[str, str]) -> Answer:
    """Runs a query of the library.

    Raises:
        InvalidError: a parameter is missing or unknown.
    """
    return store.query(query.bound(given))
