# SPDX-License-Identifier: Apache-2.0
"""Which room may import which, from ARCHITECTURE.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# (files below, may not import)
RULES = [
    ("tinyml", ("fleet",)),
    ("tinyml/ir", ("tinyml.ops", "tinyml.passes", "tinyml.plan", "tinyml.quantize")),
    (
        "tinyml/kernels",
        ("tinyml.ops", "tinyml.passes", "tinyml.plan", "tinyml.writers", "tinyml.quantize"),
    ),
    ("tinyml/ops", ("tinyml.passes", "tinyml.plan", "tinyml.quantize", "tinyml.importers")),
    ("tinyml/writers", ("tinyml.importers", "tinyml.quantize", "tinyml.passes")),
    ("tinyml/importers", ("tinyml.writers", "tinyml.quantize", "tinyml.plan")),
    ("tinyml/passes", ("tinyml.writers", "tinyml.importers")),
    ("fleet/store", ("paho", "fastapi", "fleet.mqtt", "fleet.http", "fleet.service")),
    ("fleet/service", ("paho", "fastapi", "fleet.http", "fleet.commands")),
    ("fleet/mqtt", ("fastapi", "fleet.http", "fleet.commands")),
    ("tinyml/learn", ("tinyml.importers", "tinyml.quantize", "tinyml.export")),
    ("fleet/domain", ("sqlite3", "sqlalchemy", "paho", "socket", "pathlib", "tinyml", "typer")),
]


def imports(path: Path) -> set[str]:
    """Modules a file imports when it runs; imports for type checkers do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize(("folder", "forbidden"), RULES, ids=lambda v: str(v))
def test_rooms_keep_their_doors(folder: str, forbidden: tuple[str, ...]):
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for module in imports(path):
            for name in forbidden:
                assert module != name and not module.startswith(f"{name}."), (path, module)


def test_fleet_uses_only_the_public_api_of_tinyml():
    for path in (ROOT / "fleet").rglob("*.py"):
        assert not [m for m in imports(path) if m.startswith("tinyml.")], path


def test_every_source_states_its_licence():
    folders = ("tinyml", "fleet", "tests", "firmware", "bench", "examples")
    suffixes = (".py", ".c", ".h", ".S", ".ld")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*")]
    sources = [p for p in files if p.suffix in suffixes]
    assert len(sources) > 100
    for path in sources:
        assert "SPDX-License-Identifier: Apache-2.0" in path.read_text(encoding="utf-8")[:120], path


def test_only_the_federated_room_needs_flower():
    for path in (ROOT / "fleet").rglob("*.py"):
        if "federated" not in path.parts:
            assert not [m for m in imports(path) if m.split(".")[0] == "flwr"], path
