# SPDX-License-Identifier: Apache-2.0
"""Raw text to label on an emulated microcontroller.

Compiles the zoo's spam classifier for a board and runs its firmware on messages: tokenizer, model
and program (firmware/text/classify.c) in one image. `tinyml export` and `tinyml classify` do the
same.

python examples/text_classification/classify.py --out build/text
python examples/text_classification/classify.py --out build/text "Free money, click here now!"
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tinyml.export import export
from tinyml.opened import open_export
from tinyml.quantize import QuantiseOptions
from tinyml.source import need_samples, open_samples, open_source
from tinyml.targets import load_target
from tinyml.text.classify import build_classifier, classify_texts

MODEL = "embbert-q-spam-64"
MESSAGES = (
    "Re: Kernel panic after upgrade\nHas anyone seen this with 2.4.19? The module loads fine on "
    "my other box, so I suspect the driver. Log attached.",
    "Congratulations! You have been selected\nClaim your FREE prize today, no obligation. Click "
    "below to receive $5,000 cash, guaranteed approval, act now!!!",
    "Lunch on Thursday\nAre we still meeting at the café near the station? I can book a table.",
    "Lose 20 pounds in 30 days\nOur doctors recommend this amazing all natural formula. Order now "
    "and save 50%. To be removed from our mailing list reply with remove.",
)


def compile_for(board: str, folder: Path) -> None:
    """Exports the model, unless that was done before."""
    if (folder / "report.json").exists():
        return
    spec = f"zoo:{MODEL}"
    samples = need_samples(open_samples(None, spec, "calibration"), spec)
    test = open_samples(None, spec, "test")
    source = open_source(spec, samples.shapes)
    export(source, load_target(board), samples, test, folder, QuantiseOptions())


def main() -> None:
    """Compiles, links, runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("messages", nargs="*", default=list(MESSAGES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", nargs="+", default=["cortex-m4", "cortex-m55"])
    given = parser.parse_args()
    for board in given.target:
        folder = given.out / board
        compile_for(board, folder)
        opened = open_export(folder)
        with tempfile.TemporaryDirectory() as build:
            use = build_classifier(folder, opened, opened.target, Path(build)).memory
        print(
            f"{board}: model {use.weights:,} B, model and kernels' code {use.code:,} B, tokenizer "
            f"and program {use.runtime_flash:,} B of flash; arena {use.arena:,} B, text and "
            f"tokenizer {use.runtime_ram:,} B of RAM"
        )
        raw = [message.encode() for message in given.messages]
        made = classify_texts(folder, raw, on_target=True)
        for message, said in zip(given.messages, made.texts, strict=True):
            line = f"{said.label} {said.probability:6.1%}  {said.tokens} tokens  {said.notes}"
            print(f"  {line:40} <- {message.splitlines()[0]}")


if __name__ == "__main__":
    main()
