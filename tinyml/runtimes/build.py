# SPDX-License-Identifier: Apache-2.0
"""Compiles a generated model with the test harness for a target, and reads the linker map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tinyml.errors import TargetError, TinymlError
from tinyml.runtimes.process import require_tool, run_tool
from tinyml.targets import Target

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion")
COMMON = ("-std=c11", "-ffunction-sections", "-fdata-sections")
_PORT_LANGUAGES = (".c", ".S")


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a program takes, from its linker map.

    Args:
        code: instructions and constants of the model, its kernels, and the compiler's own helper
            functions (libgcc), which a core without division or wide multiplication needs.
        weights: the weights blob.
        arena: the model's activations.
        static: RAM of the model and its kernels beside the arena: their variables.
        runtime_flash, runtime_ram: start-up code, harness and port, which a product replaces by
            its own.
    """

    code: int
    weights: int
    arena: int
    static: int
    runtime_flash: int
    runtime_ram: int

    @property
    def flash(self) -> int:
        """Flash of the model alone."""
        return self.code + self.weights

    @property
    def ram(self) -> int:
        """RAM of the model alone, without its stack."""
        return self.arena + self.static


@dataclass(frozen=True)
class Program:
    """A linked program.

    Args:
        path: executable or firmware image (ELF).
        memory: from the linker map.
    """

    path: Path
    memory: MemoryUse


def firmware_root() -> Path:
    """The firmware folder: inside the installed package, or of the source tree."""
    package = Path(__file__).parent.parent
    for root in (package / "_firmware", package.parent / "firmware"):
        if (root / "include" / "tinyml" / "kernels.h").is_file():
            return root
    raise TinymlError("the firmware sources are missing from this installation")


def build_program(
    c_dir: Path,
    model: str,
    target: Target,
    build_dir: Path,
    *,
    trace: bool = False,
    application: Sequence[Path] = (),
) -> Program:
    """Compiles ``c_dir`` (a model's C folder) with a program for a target.

    Args:
        c_dir: folder with MODEL.c, MODEL.h, MODEL_weights.c, tinyml/ and kernels/.
        model: the model's name.
        target: the board.
        build_dir: where objects, image and map go; created.
        trace: whether the program records the output of every node.
        application: sources of the program, the first with its main; the test harness by default.
            Their folders are searched for headers.

    Raises:
        ToolMissingError: the compiler is not installed.
        TargetError: the target's port is unknown, or the program does not fit the board's memory.
        TinymlError: the compiler rejects a source.
    """
    compiler = require_tool(target.compiler, target.packages)
    root = firmware_root()
    build_dir.mkdir(parents=True, exist_ok=True)
    include = [f"-I{c_dir}", f"-I{root / 'ports' / 'common'}", f"-I{root / 'include'}"]
    flags = [*target.flags, *COMMON, *WARNINGS, *include]
    flags += [f"-DTML_MODEL_NAME={model}", f'-DTML_MODEL_HEADER="{model}.h"']
    if not target.is_host:
        flags.append("-ffreestanding")
    if trace:
        flags.append("-DTINYML_TRACE")

    port_files = port_sources(root, target)
    model_sources = [c_dir / f"{model}.c", c_dir / f"{model}_weights.c"]
    kernels = sorted((c_dir / "kernels").glob("*.c"))
    jobs = [(s, build_dir / f"model_{s.stem}.o") for s in model_sources]
    # Under another name: a model may be called as a kernel's file is.
    jobs += [(s, build_dir / f"model_kernel_{s.stem}.o") for s in kernels]
    jobs += [(s, build_dir / f"port_{s.stem}.o") for s in port_files]
    main, *rest = application or [root / "harness" / "main.c"]
    jobs.append((main, build_dir / "port_main.o"))
    jobs += [(s, build_dir / f"port_{s.stem}.o") for s in rest]
    flags += [f"-I{folder}" for folder in dict.fromkeys(s.parent for s in application)]
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(
                lambda job: run_tool([compiler, *flags, "-c", str(job[0]), "-o", str(job[1])]),
                jobs,
            )
        )
    image, link_map = build_dir / f"{model}.elf", build_dir / f"{model}.map"
    link = [compiler, *target.flags, *(str(o) for _, o in jobs), "-o", str(image)]
    link += ["-Wl,--gc-sections", f"-Wl,-Map={link_map}"]
    if not target.is_host:
        ports = root / "ports"
        link += ["-nostdlib", "-nostartfiles", f"-L{ports / 'common'}"]
        link += ["-T", str(ports / target.port / "board.ld"), "-lgcc"]
    try:
        run_tool(link)
    except TinymlError as error:
        overflow = re.search(r"region `(\w+)' overflowed by (\d+) bytes", error.message)
        if overflow is None:
            raise
        raise TargetError(
            f"the program does not fit the {target.port} board: {overflow[1]} overflows by "
            f"{int(overflow[2]):,} B",
            "Use a smaller model or a target with more memory.",
        ) from None
    return Program(image, read_map(link_map, model))


def port_sources(root: Path, target: Target) -> list[Path]:
    """Start-up code and port API of a target. Raises TargetError when its port is none of the
    firmware's."""
    ports = root / "ports"
    boards = sorted(p.parent.name for p in ports.glob("*/board.ld"))
    folders = [ports / target.port]
    if not target.is_host:
        if target.port not in boards:
            raise TargetError(
                f"{target.name}: there is no port '{target.port}'",
                f"Ports: {', '.join([*boards, 'posix'])}.",
            )
        family = "arm" if Path(target.compiler).name.startswith("arm") else "riscv"
        folders += [ports / "common", ports / family]
    return [p for f in folders for p in sorted(f.iterdir()) if p.suffix in _PORT_LANGUAGES]


_PLACED = re.compile(r"^ (\.[\w.$-]+)?\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+\.o(?:bj)?\)?)$")
_NAME_ONLY = re.compile(r"^ (\.[\w.$-]+)$")


def read_map(link_map: Path, model: str) -> MemoryUse:
    """Sums the sections that the linker kept, by object file (GNU ld map format)."""
    code = weights = arena = static = runtime_flash = runtime_ram = 0
    text = link_map.read_text(errors="replace")
    kept = text[text.index("Linker script and memory map") :]
    section = ""
    for line in kept.splitlines():
        alone = _NAME_ONLY.match(line)
        if alone:
            section = alone[1]
            continue
        placed = _PLACED.match(line)
        if not placed:
            section = ""
            continue
        section = placed[1] or section
        size, owner = int(placed[2], 16), Path(placed[3]).name
        is_ram = section.startswith((".data", ".bss", ".sdata", ".sbss"))
        is_flash = section.startswith((".text", ".rodata", ".srodata", ".vectors", ".data.rel.ro"))
        if owner == f"model_{model}_weights.o" and is_flash:
            weights += size
        elif owner == "port_main.o" and section == ".bss.arena":
            arena += size
        elif owner.startswith(("model_", "libgcc.a(")) and (is_flash or is_ram):
            # Initialised variables take flash too, from where they are copied.
            code += size if not section.startswith((".bss", ".sbss")) else 0
            static += size if is_ram else 0
        elif is_flash:
            runtime_flash += size
        elif is_ram:
            runtime_ram += size
        section = ""
    return MemoryUse(code, weights, arena, static, runtime_flash, runtime_ram)
