# SPDX-License-Identifier: Apache-2.0
"""Compiles the agent around an exported model; programs are kept by the digest of all sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tinyml
from fleet.devices.crypto import cache_folder, fetch_crypto
from tinyml import TinymlError, read_report

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wstrict-prototypes")
_COMMON = ("-std=c11", "-ffunction-sections", "-fdata-sections")
_SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BOARD_FLAGS = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_BOARD_PACKAGES = "gcc-arm-none-eabi qemu-system-arm"


@dataclass(frozen=True)
class Program:
    """What was built.

    Args:
        path: executable, or firmware image (ELF).
        link_map: of the linker.
        samples: sensor data of the export, int8 inputs back to back; None if it has none.
    """

    path: Path
    link_map: Path
    samples: Path | None


def firmware_root() -> Path:
    """The firmware folder: inside the installed package, or of the source tree."""
    package = Path(tinyml.__file__).parent
    for root in (package / "_firmware", package.parent / "firmware"):
        if (root / "agent" / "agent.c").is_file():
            return root
    raise TinymlError("the agent's sources are missing from this installation")


def agent_sources() -> list[Path]:
    """The agent without a port."""
    return sorted((firmware_root() / "agent").glob("*.c"))


def build_device(export: Path, *, sanitize: bool = False) -> Program:
    """Compiles the agent and the model of an export folder to a program of this machine.

    Args:
        export: made by ``tinyml export``.
        sanitize: with address and undefined-behaviour sanitizers.

    Raises:
        TinymlError: the folder is no export, a compiler or library is missing, or a source does
            not compile.
    """
    root = firmware_root()
    crypto = fetch_crypto(with_hashes=False)
    compiler = _tool("cc", "gcc libmbedtls-dev")
    port = root / "agent" / "ports" / "posix"
    flags = [*_COMMON, *(_SANITIZE if sanitize else ("-O2",))]
    include = [root / "agent", port, root / "include", crypto / "monocypher"]
    libraries = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]
    sources = [*agent_sources(), *sorted(port.glob("*.c"))]
    foreign = [crypto / "monocypher" / "monocypher.c"]
    link = ["-Wl,--gc-sections", *libraries]
    return _build(export, compiler, flags, include, sources, foreign, link)


def build_board(export: Path) -> Program:
    """Compiles the agent and the model to firmware of the emulated Cortex-M4 board mps2-an386.

    Raises:
        TinymlError: as `build_device`.
    """
    root = firmware_root()
    crypto = fetch_crypto(with_hashes=True)
    compiler = _tool("arm-none-eabi-gcc", _BOARD_PACKAGES)
    ports = root / "ports"
    own = root / "agent" / "ports" / "mps2_an386"
    flags = [*BOARD_FLAGS, *_COMMON, "-Os", "-ffreestanding"]
    include = [root / "agent", own, ports / "common", root / "include", *board_crypto(crypto)]
    sources = [*agent_sources(), *sorted(own.glob("*.c")), *sorted((ports / "common").glob("*.c"))]
    sources += [p for p in sorted((ports / "arm").iterdir()) if p.suffix in (".c", ".S")]
    foreign = [crypto / "monocypher" / "monocypher.c"]
    foreign += [crypto / "mbedtls" / "library" / f"sha{n}.c" for n in (256, 512)]
    link = ["-Wl,--gc-sections", "-nostdlib", "-nostartfiles", f"-L{ports / 'common'}"]
    link += ["-T", str(ports / "mps2_an386" / "board.ld"), "-lgcc"]
    return _build(export, compiler, flags, include, sources, foreign, link)


def board_crypto(crypto: Path) -> list[Path]:
    """Include folders of the cryptography without a C library."""
    shim = firmware_root() / "agent" / "freestanding"
    return [shim, crypto / "monocypher", crypto / "mbedtls" / "include"]


def _tool(program: str, packages: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise TinymlError(
            f"'{program}' is not installed",
            f"On Debian and Ubuntu: sudo apt-get install {packages}",
        )
    return path


def _build(
    export: Path,
    compiler: str,
    flags: Sequence[str],
    include: Sequence[Path],
    sources: Sequence[Path],
    foreign: Sequence[Path],
    link: Sequence[str],
) -> Program:
    model = str(read_report(export)["model"]["name"])
    c_dir, learn = export / "c", export / "learn"
    models = [c_dir / f"{model}.c", c_dir / f"{model}_weights.c"]
    models += sorted((c_dir / "kernels").glob("*.c"))
    headers = [p for folder in include[:2] for p in folder.glob("*.h")]
    # The model's own headers come last, and by path: a model may be named as a part of the agent.
    command = [*flags, *WARNINGS, *(f"-I{p}" for p in (*include, c_dir))]
    command += [f"-DTML_MODEL_NAME={model}", f'-DTML_MODEL_HEADER="{c_dir.resolve() / model}.h"']
    is_board = "-ffreestanding" in flags
    command += ['-DMBEDTLS_CONFIG_FILE="mbedtls_config.h"'] if is_board else []
    if learn.is_dir():
        models += _learner_sources(learn, c_dir)
        sources = [*sources, *sorted((firmware_root() / "agent" / "train").glob("*.c"))]
        headers += (firmware_root() / "agent" / "train").glob("*.h")
        command.append(f'-DTML_LEARN_HEADER="{learn.resolve() / model}_learn.h"')
    shape = hashlib.sha256(repr((compiler, flags, link, model)).encode())
    for path in (*sources, *foreign, *models, *headers):
        shape.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    folder = cache_folder() / "devices" / shape.hexdigest()[:24]
    program = Program(folder / "device.elf", folder / "device.map", _samples(export, folder))
    if program.path.is_file():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = Path(scratch)
        theirs = [c for c in command if c not in WARNINGS]
        jobs = [(s, command) for s in (*sources, *models)] + [(s, theirs) for s in foreign]
        objects = [str(work / f"{i}.o") for i in range(len(jobs))]
        commands = [
            [compiler, *options, "-c", str(source), "-o", made]
            for (source, options), made in zip(jobs, objects, strict=True)
        ]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        image = work / "device.elf"
        sanitizers = [f for f in flags if f.startswith(("-m", "-fsanitize"))]
        final = ["-o", str(image), f"-Wl,-Map={program.link_map}", *link]
        _run([compiler, *sanitizers, *objects, *final])
        image.rename(program.path)
    return program


def _learner_sources(learn: Path, c_dir: Path) -> list[Path]:
    """The learner's C without the kernels that the model's folder has too."""
    there = {p.name for p in (c_dir / "kernels").glob("*.c")}
    runtime = sorted((learn / "runtime").glob("*.c"))
    kept = [p for p in runtime if p.name.removeprefix("kernel_") not in there]
    return [*sorted(learn.glob("*.c")), *kept]


def _samples(export: Path, folder: Path) -> Path | None:
    """The export's samples as the agent reads them."""
    import numpy as np

    source = export / "samples.npz"
    if not source.is_file():
        return None
    names = [i["name"] for i in read_report(export)["inputs"]]
    with np.load(source) as archive:
        if any(n not in archive for n in names):
            return None
        arrays = [archive[n] for n in names]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = folder / f"samples-{digest}.bin"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        packed = b"".join(a[i].tobytes() for i in range(len(arrays[0])) for a in arrays)
        target.write_bytes(packed)
    return target


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [x for x in done.stderr.splitlines() if "error" in x or "undefined" in x]
        reason = (lines or done.stderr.splitlines() or ["no message"])[0].strip()
        raise TinymlError(f"{Path(command[0]).name} failed: {reason}")
