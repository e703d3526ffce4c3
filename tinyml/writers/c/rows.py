# SPDX-License-Identifier: Apache-2.0
"""Writes a group of nodes that run by rows: a loop over a list of steps.

Each distinct step is one case of a switch: a kernel call on one row, or the shift of a line
buffer. Variables hold where each node reads and writes next. The list is a constant of one byte a
step, whose repeating middle is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinyml.ir.graph import Graph
from tinyml.plan import MemoryPlan
from tinyml.plan.inert import Length, inert_rows
from tinyml.plan.rows import RowRule, row_bytes, row_form, row_rule
from tinyml.plan.schedule import Group, Shift, Step
from tinyml.writers.c.emitter import CEmitter

_LONGEST_PERIOD = 256


class _Rows:
    """One group on its way into C."""

    def __init__(self, emitter: CEmitter, graph: Graph, plan: MemoryPlan, group: Group) -> None:
        self.emitter, self.graph, self.plan, self.group = emitter, graph, plan, group
        self.rules: dict[int, RowRule] = {}
        rows = [s.row for s in group.steps if isinstance(s, Step) and s.node == group.first]
        self.downwards = rows == sorted(rows)
        # The position of each node's next access to each tensor: variable by (node, tensor).
        self.variables: dict[tuple[int, str], str] = {}
        for index in range(group.first, group.last + 1):
            node = graph.nodes[index]
            rule = row_rule(graph, node)
            assert rule is not None
            self.rules[index] = rule
            moving = [n for n, w in zip(node.inputs, rule.windows, strict=True) if w is not None]
            for name in dict.fromkeys([*moving, node.output]):
                if group.lines.get(name) != 1:
                    self.variables[index, name] = f"at{len(self.variables)}"

        self.length = self._length()

    def _length(self) -> Length | None:
        """Where the number of rows to make is seen, None where all of them matter."""
        made = [self.graph.nodes[i].output for i in self.rules]
        whole = [name for name in made if name not in self.group.lines]
        # Only rows made last can be left out, and of one tensor.
        return inert_rows(self.graph).get(whole[0]) if len(whole) == 1 and self.downwards else None

    def lines(self) -> list[str]:
        """The statements of the group."""
        cases: dict[str, int] = {}
        order: list[int] = []
        for step in self.group.steps:
            text = self._shift(step) if isinstance(step, Shift) else self._step(step)
            if text:
                order.append(cases.setdefault(text, len(cases)))
        declared = [
            f"        uint32_t {variable} = {self._start(index, name)}u;"
            for (index, name), variable in self.variables.items()
        ]
        if self.length is not None:
            ids = self.graph.tensors[self.length.ids]
            count = f"{ids.elements}u, {self.length.padding}"
            declared.append(
                f"        uint32_t left = tml_used_rows({self.emitter.read(ids)}, {count});"
            )
        body = []
        for text, number in cases.items():
            body += [
                f"            case {number}: {{",
                text,
                "                break;",
                "            }",
            ]
        copies = [f"        {c}" for c in self.emitter.take_copies()]
        return ["    {", *copies, *declared, *_loop(order, body), "    }"]

    def _start(self, index: int, name: str) -> int:
        """Where the node's first access to a tensor lies."""
        y = next(s.row for s in self.group.steps if isinstance(s, Step) and s.node == index)
        node = self.graph.nodes[index]
        row = y
        if name != node.output:
            window = self.rules[index].windows[node.inputs.index(name)]
            assert window is not None
            row = window.low(y)
        return self.plan.offsets[name] + row * row_bytes(self.graph.tensors[name])

    def _step(self, step: Step) -> str:
        index, y = step.node, step.row
        node, rule = self.graph.nodes[index], self.rules[index]
        form = row_form(self.graph, node, rule, y)
        pointers = {
            name: f"{self.emitter.memory(name)} + {variable}"
            for (n, name), variable in self.variables.items()
            if n == index
        }
        constants = [t.name for t in self.graph.ins(node) if t.is_constant]
        self.emitter.begin(index, pointers, constants)
        start = len(self.emitter.statements)
        form.op.to_c(self.emitter, form.ins, form.out)
        made = self.emitter.statements[start:]
        place = self.emitter.place(form.out)
        number = f"{index}" if self.downwards else f"TML_FROM_LAST | {index}"
        made = [*made, f"TML_TRACE({number}, {place}, {form.out.bytes}u);"]
        after = y + 1 if self.downwards else max(y - 1, 0)
        advances = {node.output: after - y}
        for name, window in zip(node.inputs, rule.windows, strict=True):
            if window is not None:
                advances[name] = window.low(after) - window.low(y)
        for name, rows in advances.items():
            variable = self.variables.get((index, name))
            if variable is not None and rows:
                by = abs(rows) * row_bytes(self.graph.tensors[name])
                made.append(f"{variable} {'+' if rows > 0 else '-'}= {by}u;")
        if self.length is not None and node.output not in self.group.lines:
            # The rest is padding: past the last step, which ++ takes on.
            made.append("if (--left == 0) step = UINT32_MAX - 1;")
        return _indented(made)

    def _shift(self, shift: Shift) -> str:
        if self.group.lines[shift.tensor] == 1:
            return ""
        size = row_bytes(self.graph.tensors[shift.tensor])
        offset = self.plan.offsets[shift.tensor]
        made = []
        if shift.kept:
            memory = self.emitter.memory(shift.tensor)
            source = f"(const int8_t *)({memory} + {offset + shift.rows * size})"
            start = f"(int8_t *)({memory} + {offset})"
            self.emitter.call("tml_move_rows", start, source, f"{shift.kept * size}u")
            made.append(self.emitter.statements[-1])
        for (_, name), variable in self.variables.items():
            if name == shift.tensor:
                made.append(f"{variable} -= {shift.rows * size}u;")
        return _indented(made)


def write_rows(emitter: CEmitter, graph: Graph, plan: MemoryPlan, group: Group) -> list[str]:
    """The C statements of a group with steps."""
    return _Rows(emitter, graph, plan, group).lines()


def _indented(statements: Sequence[str]) -> str:
    return "\n".join(f"                {s}" for s in statements)


def _loop(order: Sequence[int], body: Sequence[str]) -> list[str]:
    start, period, rounds = _repeating(order)
    stored = [*order[: start + period], *order[start + period * rounds :]]
    kind = "uint8_t" if max(stored) < 256 else "uint16_t"
    lines = [f"        static const {kind} order[{len(stored)}] = {{"]
    for i in range(0, len(stored), 24):
        lines.append("            " + ", ".join(str(n) for n in stored[i : i + 24]) + ",")
    lines.append("        };")
    if rounds > 1:
        lines.append(f"        uint32_t rounds = {rounds - 1}u;")
    lines += [f"        for (uint32_t step = 0; step < {len(stored)}u; ++step) {{"]
    lines += ["            switch (order[step]) {", *body, "            default:"]
    lines += ["                break;", "            }"]
    if rounds > 1:
        lines += [f"            if (step == {start + period - 1}u && rounds != 0) {{"]
        # Wraps to the step before the first, which ++ takes on.
        lines += [
            "                --rounds;",
            f"                step -= {period}u;",
            "            }",
        ]
    return [*lines, "        }"]


def _repeating(order: Sequence[int]) -> tuple[int, int, int]:
    """The run of equal periods that saves most: first step, length of a period, how many."""
    best, saved = (0, len(order), 1), 0
    for period in range(1, min(len(order) // 2, _LONGEST_PERIOD) + 1):
        run = 0
        for i in range(len(order) - period):
            run = run + 1 if order[i] == order[i + period] else 0
            rounds = run // period + 1
            if (rounds - 1) * period > saved:
                saved = (rounds - 1) * period
                best = (i + 1 - run, period, rounds)
    return best
