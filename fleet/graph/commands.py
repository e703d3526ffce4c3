# SPDX-License-Identifier: Apache-2.0
"""`fleet query` and `fleet graph`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pyoxigraph import (
    Literal,
    NamedNode,
    QueryBoolean,
    QueryResultsFormat,
    QuerySolutions,
    QueryTriples,
    RdfFormat,
    serialize,
)
from rich.console import Console
from rich.table import Table

from fleet.errors import FleetError, InvalidError, NotFoundError
from fleet.graph.library import Query, find_query, list_queries, parse
from fleet.graph.projector import ONTOLOGY_FILE, Projector
from fleet.graph.read import read_device, read_devices, read_models
from fleet.graph.role import broker_url, graph_folder
from fleet.graph.seloc import SELOC, load_seloc, seloc_model, seloc_profile
from fleet.graph.store import FORMATS, Answer, GraphStore
from fleet.graph.thing import thing_description
from fleet.graph.triples import device_triples, model_triples, profile_triples
from fleet.graph.validate import violations
from fleet.graph.vocabulary import ONTOLOGY, PREFIXES, individual
from fleet.home import Home, home_folder

graph_app = typer.Typer(
    help="The RDF graph of devices, models and deployments.", no_args_is_help=True
)
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The fleet's folder (FLEET_HOME).", envvar="FLEET_HOME"),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(help="Ask these files or folders of RDF instead of the fleet's graph."),
]
Tenant = Annotated[str | None, typer.Option(help="Default: the tenant of fleet.toml.")]


class ResultForm(StrEnum):
    """How answers are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    tsv = "tsv"
    xml = "xml"


_RESULTS = {
    ResultForm.json: QueryResultsFormat.JSON,
    ResultForm.csv: QueryResultsFormat.CSV,
    ResultForm.tsv: QueryResultsFormat.TSV,
    ResultForm.xml: QueryResultsFormat.XML,
}


@contextmanager
def _opened(home: Path | None, data: list[Path] | None) -> Iterator[GraphStore]:
    if data:
        store = GraphStore()
        store.load(ONTOLOGY_FILE.read_bytes(), RdfFormat.TURTLE, ONTOLOGY)
        load_files(store, data)
        yield store
        return
    folder = graph_folder(Home(home_folder(home)))
    if not folder.is_dir():
        raise NotFoundError("the fleet has no graph yet", "Run fleet graph rebuild.")
    yield GraphStore(folder, read_only=True)


def load_files(store: GraphStore, paths: list[Path]) -> None:
    """Reads RDF files, or all of a folder, each by its suffix; SeLoC-ML's faults are mended.

    Raises:
        FleetError: there is none, a suffix is unknown, or a file does not parse.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += [p for p in sorted(path.rglob("*")) if p.suffix in FORMATS]
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(f"there is no {path}")
    if not files:
        raise NotFoundError(f"no RDF files in {', '.join(map(str, paths))}")
    console = Console(stderr=True, highlight=False, markup=False)
    for path in files:
        if path.suffix not in FORMATS:
            raise InvalidError(f"{path}: no RDF suffix", f"Known: {', '.join(FORMATS)}.")
        if path.suffix == ".ttl":
            for repair in load_seloc(store, [path]):
                console.print(f"{repair.file}: mended {repair.fault} ({repair.times} times)")
        else:
            graph = individual("graph", "import", path.name)
            store.load(path.read_bytes(), FORMATS[path.suffix], graph)


def query(
    file: Annotated[
        Path | None, typer.Argument(help="A SPARQL query, FILE.rq; - reads it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A query of the library instead.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="KEY=VALUE of a parameter.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the library.")] = False,
    form: Annotated[ResultForm, typer.Option("--format", help="Of the answer.")] = ResultForm.table,
    data: Data = None,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Ask the graph in SPARQL 1.1: a file, or a query of the library with --name."""
    chosen = ResultForm.json if as_json else form
    if list_all:
        _print_library(chosen)
        return
    asked = _asked(file, name)
    given = dict(_pair(p) for p in param or [])
    with _opened(home, data) as store:
        _print_answer(store.query(asked.bound(given)), chosen)


def _asked(file: Path | None, name: str | None) -> Query:
    if (file is None) == (name is None):
        raise InvalidError("give either FILE.rq or --name", "fleet query --list shows the library.")
    if name is not None:
        return find_query(name)
    assert file is not None
    if str(file) == "-":
        return parse("-", sys.stdin.read())
    try:
        return parse(file.stem, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{file} cannot be read: {error}") from None


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InvalidError(f"--param {text} is not KEY=VALUE")
    return key, value


def _print_library(form: ResultForm) -> None:
    found = list_queries()
    if form is ResultForm.json:
        print(json.dumps([{"name": q.name, "title": q.title, "parameters": dict(q.parameters)}
                          for q in found], indent=1))  # fmt: skip
        return
    table = Table("name", "answers", "parameters")
    for one in found:
        table.add_row(one.name, one.title, ", ".join(one.parameters))
    Console().print(table)


def _print_answer(answer: Answer, form: ResultForm) -> None:
    if isinstance(answer, QueryTriples):
        made = serialize(answer, format=RdfFormat.TURTLE, prefixes=PREFIXES)
        print((made or b"").decode(), end="")
    elif form is not ResultForm.table:
        print((answer.serialize(format=_RESULTS[form]) or b"").decode())
    elif isinstance(answer, QueryBoolean):
        print("yes" if answer else "no")
    else:
        assert isinstance(answer, QuerySolutions)
        names = [v.value for v in answer.variables]
        table = Table(*names)
        rows = 0
        for solution in answer:
            table.add_row(*(_shown(solution[n]) for n in names))
            rows += 1
        Console().print(table if rows else "no rows")


def _shown(term: object) -> str:
    if term is None:
        return ""
    if isinstance(term, Literal):
        return term.value.replace("[", r"\[")
    if isinstance(term, NamedNode):
        for prefix, start in PREFIXES.items():
            if term.value.startswith(start):
                return f"{prefix}:{term.value[len(start) :]}"
        return term.value
    return str(term)


@graph_app.command()
def rebuild(
    home: HomeOption = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Make the graph anew from the database. The server must not be running: one writer."""
    opened = Home(home_folder(home))
    done = Projector(opened.store, GraphStore(graph_folder(opened))).rebuild()
    if as_json:
        print(json.dumps(done.__dict__))
    else:
        print(
            f"{done.triples:,} triples: {done.devices:,} devices, {done.models:,} models, "
            f"{done.deployments:,} deployments"
        )


@graph_app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="RDF files or folders, such as SeLoC-ML's.")],
    home: HomeOption = None,
) -> None:
    """Read RDF beside the fleet's own graphs: Turtle, N-Triples, TriG, JSON-LD, RDF/XML."""
    store = GraphStore(graph_folder(Home(home_folder(home))))
    before = len(store)
    load_files(store, files)
    store.flush()
    print(f"{len(store) - before:,} triples more")


class Vocabulary(StrEnum):
    """In whose words models and devices are exported."""

    own = "own"
    seloc = "seloc"


@graph_app.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(help="FILE.ttl, .nt, .nq, .trig, .jsonld or .rdf.")],
    vocabulary: Annotated[Vocabulary, typer.Option(help="In whose words.")] = Vocabulary.own,
    tenant: Tenant = None,
    home: HomeOption = None,
) -> None:
    """Write the graph to a file."""
    if out.suffix not in FORMATS:
        raise InvalidError(f"{out}: no RDF suffix", f"Known: {', '.join(FORMATS)}.")
    form = FORMATS[out.suffix]
    opened = Home(home_folder(home))
    if vocabulary is Vocabulary.own:
        with _opened(home, None) as store:
            text = store.dump(form)
    else:
        chosen = tenant or opened.config.tenant
        store = GraphStore()
        with opened.store.read() as connection:
            for model in read_models(connection, chosen):
                store.add(SELOC, seloc_model(model))
            for device in read_devices(connection, chosen):
                if device.profile is not None:
                    store.add(SELOC, seloc_profile(chosen, device.name, device.profile))
        text = store.dump(form)
    out.write_bytes(text)
    print(f"{out}: {len(text):,} bytes")


@graph_app.command("validate")
def validate_command(tenant: Tenant = None, home: HomeOption = None) -> None:
    """Check every device and model against the SHACL shapes; exit status 1 where one fails."""
    opened = Home(home_folder(home))
    chosen = tenant or opened.config.tenant
    found: list[str] = []
    with opened.store.read() as connection:
        devices = read_devices(connection, chosen)
        models = read_models(connection, chosen)
    for device in devices:
        triples = list(device_triples(device))
        if device.profile is not None:
            triples += profile_triples(device.profile)
        found += violations(triples)
    for model in models:
        found += violations(model_triples(model))
    for line in found:
        print(line)
    print(f"{len(devices):,} devices and {len(models):,} models: {len(found):,} violations")
    if found:
        raise typer.Exit(1)


@graph_app.command("thing")
def thing_command(device: str, tenant: Tenant = None, home: HomeOption = None) -> None:
    """Print the W3C Thing Description of a device."""
    opened = Home(home_folder(home))
    with opened.store.read() as connection:
        found = read_device(connection, tenant or opened.config.tenant, device)
    if found is None:
        raise NotFoundError(f"there is no device '{device}'", "fleet device list shows them.")
    print(json.dumps(thing_description(found, broker_url(opened)), indent=1))
