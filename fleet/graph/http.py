# SPDX-License-Identifier: Apache-2.0
"""The graph over HTTP: SPARQL at /sparql, Thing Descriptions at /things, documents at /store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from pyoxigraph import NamedNode
from starlette.concurrency import run_in_threadpool

from fleet.errors import FleetError, NotFoundError
from fleet.graph.facts import DeviceFacts
from fleet.graph.library import find_query, list_queries
from fleet.graph.protocol import TRIPLES, Endpoint, TimedOutError
from fleet.graph.store import GraphStore
from fleet.graph.thing import thing_description

_SERVICE = """@prefix sd: <http://www.w3.org/ns/sparql-service-description#> .
@prefix formats: <http://www.w3.org/ns/formats/> .
[] a sd:Service ;
    sd:endpoint <sparql> ;
    sd:supportedLanguage sd:SPARQL11Query ;
    sd:feature sd:UnionDefaultGraph ;
    sd:resultFormat formats:SPARQL_Results_JSON , formats:SPARQL_Results_XML ,
        formats:SPARQL_Results_CSV , formats:SPARQL_Results_TSV , formats:Turtle ,
        formats:N-Triples , formats:JSON-LD , formats:RDF_XML .
"""
_Default = Annotated[list[str] | None, Query(alias="default-graph-uri")]
_Named = Annotated[list[str] | None, Query(alias="named-graph-uri")]
_Accept = Annotated[str, Header()]
_READ_ONLY = FleetError("the graph is a projection of the registry: read only")
_DATA_SET = ("default-graph-uri", "named-graph-uri")
# A query is text that a person wrote or a page made; more is a mistake or an attack.
MAX_QUERY_BYTES = 1 << 20


def graph_router(
    store: GraphStore,
    devices: Callable[[str], list[DeviceFacts]],
    device: Callable[[str, str], DeviceFacts | None],
    broker: str,
    timeout_s: float = 20.0,
) -> APIRouter:
    """Routes to mount in the server's application, behind its authentication.

    Args:
        store: the graph.
        devices, device: all devices of a tenant, and one by name.
        broker: URL for the forms of Thing Descriptions.
        timeout_s: of one query.
    """
    router = APIRouter(tags=["graph"])
    endpoint = Endpoint(store, timeout_s)

    async def answer(
        query: str | None, accept: str, default: list[str] | None, named: list[str] | None
    ) -> Response:
        if query is None:
            return Response(_SERVICE, media_type="text/turtle")
        try:
            result = await run_in_threadpool(
                endpoint.answer, query, accept, default or (), named or ()
            )
        except TimedOutError as error:
            return _failed(503, error)
        except FleetError as error:
            return _failed(400, error)
        return Response(result.body, media_type=result.media_type)

    @router.get("/sparql", summary="SPARQL 1.1 query; the service description without one")
    async def sparql_get(
        query: str | None = None,
        default_graph: _Default = None,
        named_graph: _Named = None,
        accept: _Accept = "",
    ) -> Response:
        return await answer(query, accept, default_graph, named_graph)

    @router.post("/sparql", summary="SPARQL 1.1 query, as a form or as application/sparql-query")
    async def sparql_post(request: Request) -> Response:
        media = request.headers.get("content-type", "").split(";")[0].strip()
        length = int(request.headers.get("content-length") or 0)
        body = b"" if length > MAX_QUERY_BYTES else await request.body()
        if length > MAX_QUERY_BYTES or len(body) > MAX_QUERY_BYTES:
            return _failed(413, FleetError(f"a query has at most {MAX_QUERY_BYTES:,} bytes"))
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return _failed(400, FleetError("the query is not UTF-8"))
        accept = request.headers.get("accept", "")
        where = {k: request.query_params.getlist(k) for k in _DATA_SET}
        if media == "application/x-www-form-urlencoded":
            form = parse_qs(text)
            if "update" in form:
                return _failed(403, _READ_ONLY)
            where = {k: form.get(k, where[k]) for k in where}
            query = form.get("query", [""])[0]
        elif media == "application/sparql-query":
            query = text
        elif media == "application/sparql-update":
            return _failed(403, _READ_ONLY)
        else:
            return _failed(
                415,
                FleetError(
                    f"'{media}' is no media type of a query", "Use application/sparql-query."
                ),
            )
        return await answer(query, accept, where["default-graph-uri"], where["named-graph-uri"])

    @router.get("/queries", summary="The query library")
    def queries() -> list[dict[str, Any]]:
        return [
            {
                "name": q.name,
                "title": q.title,
                "parameters": dict(q.parameters),
                "defaults": dict(q.defaults),
                "text": q.text,
            }
            for q in list_queries()
        ]

    @router.get("/queries/{name}", summary="Runs a query of the library")
    async def run_named(name: str, request: Request, accept: _Accept = "") -> Response:
        try:
            text = find_query(name).bound(dict(request.query_params))
        except NotFoundError as error:
            return _failed(404, error)
        except FleetError as error:
            return _failed(400, error)
        return await answer(text, accept, None, None)

    @router.get("/things/{tenant}", summary="Thing Descriptions of a tenant's devices")
    def things(tenant: str) -> Response:
        described = [thing_description(d, broker) for d in devices(tenant)]
        return JSONResponse(described, media_type="application/ld+json")

    @router.get("/things/{tenant}/{name}", summary="W3C Thing Description of one device")
    def thing(tenant: str, name: str) -> Response:
        found = device(tenant, name)
        if found is None:
            return _failed(404, FleetError(f"there is no device '{name}'"))
        return JSONResponse(thing_description(found, broker), media_type="application/td+json")

    @router.get("/store", summary="A named graph, or all of them, as a document")
    async def document(graph: str | None = None, accept: _Accept = "") -> Response:
        media = next((m for m in TRIPLES if m in accept), "text/turtle")
        chosen = None if graph is None else [NamedNode(graph)]
        body = await run_in_threadpool(store.dump, TRIPLES[media], chosen)
        return Response(body, media_type=media)

    return router


def _failed(status: int, error: FleetError) -> Response:
    return JSONResponse({"error": error.message, "hint": error.hint}, status_code=status)
