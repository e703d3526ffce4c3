# SPDX-License-Identifier: Apache-2.0
"""SPARQL 1.1 over one store, safely: read only, bounded in time, without federated fetches.

Source: W3C SPARQL 1.1 Protocol, 2013-03-21, section 2.1; results in JSON, XML, CSV and TSV.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import TypeVar

from pyoxigraph import NamedNode, QueryResultsFormat, QueryTriples, RdfFormat, serialize

from fleet.errors import FleetError
from fleet.graph.store import GraphStore
from fleet.graph.vocabulary import PREFIXES

F = TypeVar("F")
_SOLUTIONS = {
    "application/sparql-results+json": QueryResultsFormat.JSON,
    "application/sparql-results+xml": QueryResultsFormat.XML,
    "text/csv": QueryResultsFormat.CSV,
    "text/tab-separated-values": QueryResultsFormat.TSV,
    "application/json": QueryResultsFormat.JSON,
    "application/xml": QueryResultsFormat.XML,
}
TRIPLES = {
    "text/turtle": RdfFormat.TURTLE,
    "application/n-triples": RdfFormat.N_TRIPLES,
    "application/ld+json": RdfFormat.JSON_LD,
    "application/rdf+xml": RdfFormat.RDF_XML,
}
# IRIs, strings and comments, in which a word is no keyword.
_QUOTED = re.compile(
    r"<[^<>\"{}|^`\\\s]*>|\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*",
    re.DOTALL,
)


class TimedOutError(FleetError):
    """A query took longer than it may, or all places were taken by such queries."""


@dataclass(frozen=True)
class Result:
    """An answer as bytes of a media type."""

    media_type: str
    body: bytes


class Endpoint:
    """Answers queries.

    Args:
        store: the graph.
        timeout_s: time that one query may take.
        places: queries that run at once. One that runs into its time keeps its place until it
            ends, since the engine cannot be interrupted; the others go on.
    """

    def __init__(self, store: GraphStore, timeout_s: float = 20.0, places: int = 4) -> None:
        self._store = store
        self._timeout = timeout_s
        self._places = threading.BoundedSemaphore(places)
        self._pool = ThreadPoolExecutor(places, thread_name_prefix="sparql")

    def answer(
        self,
        query: str,
        accept: str = "",
        default_graphs: Sequence[str] = (),
        named_graphs: Sequence[str] = (),
    ) -> Result:
        """Runs a query.

        Args:
            accept: media types in the caller's order of preference, as in HTTP.
            default_graphs, named_graphs: IRIs of the data set; everything where there are none.

        Raises:
            FleetError: the query does not parse, or asks for what is switched off.
            TimedOutError: it took too long, or the endpoint is busy.
        """
        refuse_service(query)
        chosen = [NamedNode(g) for g in default_graphs] or None
        named = [NamedNode(g) for g in named_graphs] or None
        if not self._places.acquire(timeout=self._timeout):
            raise TimedOutError("all places for queries are taken", "Ask again later.")

        def run() -> Result:
            try:
                return _serialised(
                    lambda: self._store.query(query, graphs=chosen, named_graphs=named), accept
                )
            finally:
                self._places.release()

        future = self._pool.submit(run)
        try:
            return future.result(timeout=self._timeout)
        except FutureTimeoutError:
            raise TimedOutError(
                f"the query took more than {self._timeout:g} s",
                "Bind more of its variables, or limit its rows.",
            ) from None


def refuse_service(query: str) -> None:
    """Raises FleetError for SERVICE: the server fetches nothing on behalf of a query."""
    if re.search(r"\bSERVICE\b", _QUOTED.sub(" ", query), re.IGNORECASE):
        raise FleetError("SERVICE is switched off: this endpoint asks no other server")


def _serialised(ask: Callable[[], object], accept: str) -> Result:
    answer = ask()
    try:
        if isinstance(answer, QueryTriples):
            media, form = _preferred(accept, TRIPLES)
            return Result(media, bytes(serialize(answer, format=form, prefixes=PREFIXES) or b""))
        media, results = _preferred(accept, _SOLUTIONS)
        body = answer.serialize(format=results)  # type: ignore[attr-defined]
        return Result(media, bytes(body or b""))
    finally:
        # An answer must not outlive its thread, as it would in the traceback of an error.
        del answer


def _preferred(accept: str, offered: dict[str, F]) -> tuple[str, F]:
    """The best offered media type; the first one where nothing is asked for.

    Raises:
        FleetError: nothing that is asked for is offered.
    """
    wishes = []
    for position, part in enumerate(accept.split(",")):
        name, *parameters = (p.strip() for p in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            wishes.append((-float(quality), position, name.lower()))
        except ValueError:
            continue
    for quality_sign, _, name in sorted(wishes):
        if quality_sign == 0:
            continue
        if name in offered:
            return name, offered[name]
        if name in {"*/*", ""} or (name.endswith("/*") and _first(name, offered)):
            chosen = _first(name, offered) or next(iter(offered))
            return chosen, offered[chosen]
    raise FleetError(f"none of '{accept}' can be given", f"There are: {', '.join(offered)}.")


def _first(pattern: str, offered: dict[str, F]) -> str | None:
    return next((o for o in offered if o.startswith(pattern[:-1])), None)
