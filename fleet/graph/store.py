# SPDX-License-Identifier: Apache-2.0
"""The triple store: named graphs on disk or in memory, replaced as wholes, queried as one."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from pyoxigraph import (
    NamedNode,
    Quad,
    QueryBoolean,
    QuerySolutions,
    QueryTriples,
    RdfFormat,
    Store,
    Triple,
    serialize,
)

from fleet.errors import FleetError
from fleet.graph.vocabulary import PREFIXES

Answer = QuerySolutions | QueryTriples | QueryBoolean

FORMATS = {
    ".ttl": RdfFormat.TURTLE,
    ".nt": RdfFormat.N_TRIPLES,
    ".nq": RdfFormat.N_QUADS,
    ".trig": RdfFormat.TRIG,
    ".jsonld": RdfFormat.JSON_LD,
    ".rdf": RdfFormat.RDF_XML,
}


class GraphStore:
    """Args:
    path: folder of the store; None keeps it in memory.
    read_only: open beside the process that writes.

    Raises:
        FleetError: another process writes this store.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        try:
            if path is None:
                self._store = Store()
            elif read_only:
                self._store = Store.read_only(str(path))
            else:
                path.mkdir(parents=True, exist_ok=True)
                self._store = Store(str(path))
        except OSError as error:
            raise FleetError(
                f"the graph in {path} cannot be opened: {error}",
                "It has one writer, the role 'graph' of `fleet serve`; stop it, or ask it over "
                "HTTP at /sparql.",
            ) from None

    def __len__(self) -> int:
        return len(self._store)

    def replace(self, graph: NamedNode, triples: Iterable[Triple]) -> None:
        """Makes ``triples`` all that a named graph holds."""
        self._store.remove_graph(graph)
        self.add(graph, triples)

    def add(self, graph: NamedNode, triples: Iterable[Triple]) -> None:
        """Adds triples to a named graph, in bulk."""
        self._store.bulk_extend(Quad(t.subject, t.predicate, t.object, graph) for t in triples)

    def replace_subject(
        self, graph: NamedNode, subject: NamedNode, triples: Iterable[Triple]
    ) -> None:
        """Makes ``triples`` all that a named graph says of one subject.

        Nodes that only the old triples named stay: they are named by content, or replaced too.
        """
        for quad in list(self._store.quads_for_pattern(subject, None, None, graph)):
            self._store.remove(quad)
        self._store.extend(Quad(t.subject, t.predicate, t.object, graph) for t in triples)

    def remove_matching(self, graph: NamedNode, predicate: NamedNode, value: NamedNode) -> None:
        """Removes the triples of a named graph with this predicate and object."""
        for quad in list(self._store.quads_for_pattern(None, predicate, value, graph)):
            self._store.remove(quad)

    def clear(self) -> None:
        """Forgets everything."""
        self._store.clear()

    def load(self, data: bytes, form: RdfFormat, graph: NamedNode, base: str | None = None) -> None:
        """Reads a document into a named graph (formats with graphs keep their own).

        Raises:
            FleetError: with the line that does not parse.
        """
        named = form in (RdfFormat.N_QUADS, RdfFormat.TRIG)
        try:
            self._store.load(
                io.BytesIO(data), form, base_iri=base, to_graph=None if named else graph
            )
        except SyntaxError as error:
            raise FleetError(
                f"the {form.name} document does not parse: {error.msg} (line {error.lineno})"
            ) from None

    def dump(self, form: RdfFormat, graphs: Iterable[NamedNode] | None = None) -> bytes:
        """The whole store, or the union of some graphs, as one document."""
        if form in (RdfFormat.N_QUADS, RdfFormat.TRIG) and graphs is None:
            return bytes(self._store.dump(format=form, prefixes=PREFIXES) or b"")
        chosen = None if graphs is None else list(graphs)
        query = "CONSTRUCT { ?s ?p ?o } WHERE { ?s ?p ?o }"
        answer = self.query(query, graphs=chosen)
        assert isinstance(answer, QueryTriples)
        return bytes(serialize(answer, format=form, prefixes=PREFIXES) or b"")

    def query(
        self,
        text: str,
        graphs: list[NamedNode] | None = None,
        named_graphs: list[NamedNode] | None = None,
    ) -> Answer:
        """Answers a SPARQL 1.1 query over the union of all graphs, or of ``graphs``.

        Raises:
            FleetError: the query does not parse.
        """
        try:
            return self._store.query(
                text,
                prefixes=PREFIXES,
                use_default_graph_as_union=graphs is None,
                default_graph=list(graphs) if graphs is not None else None,
                named_graphs=list(named_graphs) if named_graphs is not None else None,
            )
        except SyntaxError as error:
            raise FleetError(f"the query does not parse: {error.msg}") from None

    def graphs(self) -> list[NamedNode]:
        """The named graphs."""
        return [g for g in self._store.named_graphs() if isinstance(g, NamedNode)]

    def flush(self) -> None:
        """Makes everything durable."""
        self._store.flush()
