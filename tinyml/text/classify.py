# SPDX-License-Identifier: Apache-2.0
"""Raw text to label by an export's firmware: tokenizer, model and program in one image."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyml.errors import TargetError, TinymlError
from tinyml.opened import Export, open_export
from tinyml.progress import Progress, silent
from tinyml.runtimes.build import Program, build_program, firmware_root
from tinyml.runtimes.compiled import run_command
from tinyml.runtimes.process import run_tool
from tinyml.targets import Target, load_target
from tinyml.text.device import TEXT_FOLDER

_SAID = re.compile(
    r"scores(?P<scores>( -?\d+)+)  tokens (?P<tokens>\d+)(?P<cut>, text cut)?"
    r"(?P<word>, a word cut)?(, unknown characters (?P<unknown>\d+))?"
    r"(, bytes skipped (?P<skipped>\d+))?$"
)


@dataclass(frozen=True)
class Classified:
    """What the firmware made of one text.

    Args:
        label: the class; None where the text holds not one token.
        probability: of that class, the softmax of the scores.
        scores: integers of the model's output, less the zero point.
        tokens: read, [CLS] included.
        truncated: whether the text is longer than the model reads.
        word_cut: whether a word was longer than the tokenizer takes at once.
        unknown: characters outside the alphabet, read as [UNK].
        skipped_bytes: that are no UTF-8.
    """

    label: str | None
    probability: float
    scores: tuple[int, ...]
    tokens: int
    truncated: bool
    word_cut: bool
    unknown: int
    skipped_bytes: int

    @property
    def notes(self) -> str:
        """What is worth knowing of how the text was read, in words."""
        found = ["no token in it"] if self.label is None else []
        found += [f"cut after {self.tokens} tokens"] if self.truncated else []
        found += ["a long word was cut"] if self.word_cut else []
        found += [f"{self.unknown} unknown"] if self.unknown else []
        found += [f"{self.skipped_bytes} bytes skipped"] if self.skipped_bytes else []
        return ", ".join(found)


@dataclass(frozen=True)
class Classification:
    """Args:
    model: its name.
    place: the host, or the target and its emulated machine.
    texts: one for each text, in order.
    """

    model: str
    place: str
    texts: list[Classified]


def classify_texts(
    folder: Path, texts: Sequence[bytes], *, on_target: bool, progress: Progress = silent
) -> Classification:
    """Labels of raw texts, by the firmware.

    Args:
        folder: an export of a text model.
        texts: bytes as a device would get them: UTF-8, or anything else.
        on_target: on the emulated target instead of this machine.

    Raises:
        TinymlError: the export is of no text model, the target is not emulated, or anything
            `open_export` and `build_program` raise.
    """
    opened = open_export(folder)
    target = opened.target if on_target else load_target("host")
    if target.qemu is None and on_target:
        raise TargetError(f"{target.name} is not emulated", "Use --on host.")
    advance = progress("Classify", len(texts))
    found = []
    with tempfile.TemporaryDirectory(prefix="tinyml-build-") as build:
        program = build_classifier(folder, opened, target, Path(build))
        for text in texts:
            found.append(_classify(program, target, opened, text, Path(build)))
            advance()
    machine = f"{target.name} ({target.qemu.machine}, QEMU)" if target.qemu else target.name
    return Classification(opened.graph.name, machine, found)


def build_classifier(folder: Path, opened: Export, target: Target, build: Path) -> Program:
    """Model, tokenizer and firmware/text/classify.c as one program. Raises TinymlError."""
    if opened.report.get("text") is None:
        raise TinymlError(
            f"{folder} is no export of a text model", "Export one of the text models of tinyml zoo."
        )
    sources = sorted((folder / TEXT_FOLDER).glob("*.c"))
    application = [firmware_root() / "text" / "classify.c", *sources]
    return build_program(folder / "c", opened.graph.name, target, build, application=application)


def _classify(
    program: Program, target: Target, opened: Export, text: bytes, work: Path
) -> Classified:
    (work / "text.txt").write_bytes(text)
    line = run_tool(run_command(program, target, None), cwd=work).strip()
    said = _SAID.search(line)
    if said is None:
        raise TinymlError(f"the program said no scores: {line!r}")
    scores = tuple(int(s) for s in said["scores"].split())
    logits = np.array(scores) * opened.graph.tensors[opened.graph.outputs[0]].q.s
    shares = np.exp(logits - logits.max())
    tokens, best = int(said["tokens"]), int(np.argmax(scores))
    return Classified(
        label=opened.report["text"]["classes"][best] if tokens > 1 else None,
        probability=float(shares[best] / shares.sum()),
        scores=scores,
        tokens=tokens,
        truncated=said["cut"] is not None,
        word_cut=said["word"] is not None,
        unknown=int(said["unknown"] or 0),
        skipped_bytes=int(said["skipped"] or 0),
    )
