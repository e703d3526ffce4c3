# SPDX-License-Identifier: Apache-2.0
"""What each part of the device agent takes on a Cortex-M4 (-Os); fails when a budget is exceeded.

Compiles every source alone, links nothing: a part is the text and constants of its objects, of the
library functions it calls, and of nothing else. RAM is what the agent declares, its buffers, and
the deepest stack, found by following calls from the agent's entry through GCC's stack report.

usage: python bench/agent_size.py [--json]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fleet.devices.build import BOARD_FLAGS, board_crypto, firmware_root
from fleet.devices.crypto import fetch_crypto
from tinyml import TinymlError

KIB = 1024
CHUNK = 1024
COMPILER = "arm-none-eabi-gcc"


@dataclass(frozen=True)
class Part:
    """A part of the agent: its sources, and the budget in bytes."""

    name: str
    sources: tuple[str, ...]
    budget: int


PARTS = (
    Part("MQTT 5 client", ("mqtt",), 8 * KIB),
    Part("CBOR and message tables", ("cbor", "codec", "protocol"), 4 * KIB),
    Part("COSE, SHA-512, Ed25519", ("cose", "crypto", "monocypher", "sha512"), 12 * KIB),
    Part("update, journal, SHA-256", ("update", "journal", "sha256"), 6 * KIB),
    Part("agent", ("agent",), 4 * KIB),
)
# The state machine alone is what the budget of updates means; the hash is the library's.
UPDATE_BUDGET = 4 * KIB
RAM_BUDGET = 3 * KIB
ROOTS = ("tml_agent_init", "tml_agent_step", "tml_agent_stop")
# The buffer that holds a chunk also holds its packet's head; the rest of it is the agent's.
RX_OVERHEAD, TX_BYTES = 128, 384


def main() -> None:
    """Prints the table; status 1 when a budget is exceeded."""
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(Path(folder))
    if "--json" in sys.argv:
        print(json.dumps(facts, indent=1))
    else:
        show(facts)
    over = [row["name"] for row in facts["rows"] if row["bytes"] > row["budget"]]
    if over:
        Console(stderr=True).print(f"error: over budget: {', '.join(over)}", markup=False)
        raise SystemExit(1)


def measure(work: Path) -> dict[str, list[dict[str, int | str]]]:
    """Rows of name, bytes and budget."""
    crypto = fetch_crypto(with_hashes=True)
    root = firmware_root()
    paths = {p.stem: p for p in (root / "agent").glob("*.c")}
    paths["monocypher"] = crypto / "monocypher" / "monocypher.c"
    paths |= {f"sha{n}": crypto / "mbedtls" / "library" / f"sha{n}.c" for n in (256, 512)}
    include = [root / "agent", root / "include", *board_crypto(crypto)]
    flags = [*BOARD_FLAGS, "-std=c11", "-Os", "-ffreestanding", "-ffunction-sections"]
    flags += ["-fdata-sections", "-fstack-usage", "-fcallgraph-info=su"]
    flags += ['-DMBEDTLS_CONFIG_FILE="mbedtls_config.h"', *(f"-I{p}" for p in include)]
    for name, path in paths.items():
        _run([COMPILER, *flags, "-c", str(path), "-o", str(work / f"{name}.o")])
    # Unused functions go as they go in a firmware image.
    start = work / "start.c"
    start.write_text(
        "void tml_agent_init(void); void tml_agent_step(void); void tml_agent_stop(void);\n"
        "void mbedtls_platform_zeroize(void *p, unsigned n); void *memcpy(void *a, const void *b,"
        " unsigned n); void *memmove(void *a, const void *b, unsigned n); void *memset(void *a,"
        " int v, unsigned n); int memcmp(const void *a, const void *b, unsigned n);\n"
        "void mbedtls_platform_zeroize(void *p, unsigned n) { (void)p; (void)n; }\n"
        "void _start(void) { tml_agent_init(); tml_agent_step(); tml_agent_stop(); }\n"
    )
    memory = root / "ports" / "common" / "memory.c"
    for name, path in (("start", start), ("memory", memory)):
        _run([COMPILER, *flags, "-c", str(path), "-o", str(work / f"{name}.o")])
    link = [
        COMPILER,
        *BOARD_FLAGS,
        "-nostdlib",
        "-nostartfiles",
        "-Wl,--gc-sections",
        "-Wl,-e,_start",
    ]
    objects = [str(work / f"{n}.o") for n in (*paths, "start", "memory")]
    _run([*link, *objects, f"-Wl,-Map={work / 'map'}", "-o", str(work / "elf"), "-lgcc"])
    sizes = read_map(work / "map")
    rows: list[dict[str, int | str]] = []
    for part in PARTS:
        used = sum(sizes.get(s, 0) for s in part.sources)
        rows.append({"name": part.name, "bytes": used, "budget": part.budget})
        if "update" in part.sources:
            machine = sizes["update"] + sizes["journal"]
            rows[-1]["name"] = "SHA-256"
            rows[-1] |= {"bytes": sizes["sha256"], "budget": part.budget - UPDATE_BUDGET}
            rows.append({"name": "update, journal", "bytes": machine, "budget": UPDATE_BUDGET})
    total = sum(int(r["bytes"]) for r in rows)
    rows.append({"name": "flash in all", "bytes": total, "budget": 32 * KIB})
    state = struct_bytes(work, flags, "tml_agent_t")
    stack = deepest_stack(work, list(paths))
    ram = state + RX_OVERHEAD + TX_BYTES + stack
    parts = f"state {state}, packets {RX_OVERHEAD + TX_BYTES}, stack {stack}"
    rows.append({"name": f"RAM besides one chunk ({parts})", "bytes": ram, "budget": RAM_BUDGET})
    return {"rows": rows}


def read_map(path: Path) -> dict[str, int]:
    """Bytes of flash that the linker kept, by object."""
    text = path.read_text(errors="replace")
    kept = text[text.index("Linker script and memory map") :]
    sizes: dict[str, int] = {}
    pattern = r"^ \.(?:text|rodata)[\w.$-]*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) \S*?(\w+)\.o$"
    for size, owner in re.findall(pattern, kept, re.MULTILINE):
        sizes[owner] = sizes.get(owner, 0) + int(size, 16)
    return sizes


def struct_bytes(work: Path, flags: list[str], name: str) -> int:
    """sizeof on the target, read from the object's symbol."""
    probe = work / "probe.c"
    probe.write_text(f'#include "agent.h"\nextern {name} probe;\n{name} probe;\n')
    _run([COMPILER, *flags, "-c", str(probe), "-o", str(work / "probe.o")])
    done = subprocess.run(
        ["arm-none-eabi-nm", "-S", str(work / "probe.o")],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"^\w+ (\w+) \w probe$", done.stdout, re.MULTILINE)
    assert found is not None
    return int(found[1], 16)


def deepest_stack(work: Path, names: list[str]) -> int:
    """Bytes on the longest path of calls.

    What calls by pointer lead to (the transport, the flash, the model) is the port's own.
    """
    own: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for name in names:
        text = (work / f"{name}.ci").read_text()
        titles: dict[str, str] = {}
        for title, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]*)"', text):
            plain = _plain(label.split("\\n")[0])
            # Static functions are named with their file; others are shared between objects.
            titles[title] = f"{name}:{plain}" if ":" in title else plain
            if size := re.search(r"(\d+) bytes", label):
                own[titles[title]] = int(size[1])
        for source, target in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            calls.setdefault(titles.get(source, source), set()).add(titles.get(target, target))
        if name == "agent":
            # Handlers are called through a table.
            handlers = {t for t in titles.values() if t.startswith("agent:on_")}
            calls["tml_agent_step"] |= handlers
    depth: dict[str, int] = {}
    known = {caller for caller in calls if caller in own}
    assert "agent:on_job" in known, "the call graph has another form"

    def walk(function: str, path: tuple[str, ...]) -> int:
        if function in path:
            return 0
        if function not in depth:
            below = [walk(c, (*path, function)) for c in calls.get(function, ())]
            depth[function] = own.get(function, 0) + max(below, default=0)
        return depth[function]

    return max(walk(root, ()) for root in ROOTS)


def _plain(label: str) -> str:
    return label.split("(")[0]


def show(facts: dict[str, list[dict[str, int | str]]]) -> None:
    """A table for people."""
    table = Table("part (Cortex-M4, -Os)", "bytes", "budget", "")
    for row in facts["rows"]:
        fits = int(row["bytes"]) <= int(row["budget"])
        mark = "[green]ok[/]" if fits else "[red]over[/]"
        table.add_row(str(row["name"]), f"{row['bytes']:,}", f"{row['budget']:,}", mark)
    Console().print(table)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TinymlError(f"{command[0]}: {(done.stderr.splitlines() or ['failed'])[0]}")


if __name__ == "__main__":
    try:
        main()
    except TinymlError as error:
        raise SystemExit(f"error: {error.message}") from None
