# SPDX-License-Identifier: Apache-2.0
"""SHACL, one device or model at a time: milliseconds each, where a whole graph takes minutes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pyoxigraph import RdfFormat, Triple, serialize
from pyshacl import validate
from rdflib import Graph, Namespace

SHAPES = Path(__file__).parent / "shapes.ttl"
_SH = Namespace("http://www.w3.org/ns/shacl#")


@cache
def _shapes() -> Graph:
    return Graph().parse(SHAPES, format="turtle")


def violations(triples: Iterable[Triple]) -> list[str]:
    """What does not conform to shapes.ttl, one sentence each; empty where everything does.

    Args:
        triples: of one subject and of what it names, such as a device with its profile.
    """
    data = Graph()
    data.parse(data=serialize(triples, format=RdfFormat.N_TRIPLES) or b"", format="nt")
    conforms, report, _ = validate(data, shacl_graph=_shapes(), inference="none")
    if conforms:
        return []
    assert isinstance(report, Graph)
    found = []
    for result in report.subjects(_SH.resultSeverity):
        message = report.value(result, _SH.resultMessage)
        focus = report.value(result, _SH.focusNode)
        path = report.value(result, _SH.resultPath)
        found.append(f"{focus}: {path}: {message}")
    return sorted(found)
