# SPDX-License-Identifier: Apache-2.0
"""Raw text to label on an emulated microcontroller.

Compiles the zoo's spam classifier for a board, with its tokenizer in C; links both with classify.c
into one firmware image; runs it on messages.

python examples/text_classification/classify.py --out build/text
python examples/text_classification/classify.py --out build/text "Free money, click here now!"
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from tinyml.export import export
from tinyml.quantize import QuantiseOptions
from tinyml.runtimes.build import Program, build_program
from tinyml.runtimes.compiled import run_command
from tinyml.source import need_samples, open_samples, open_source, open_tokenizer
from tinyml.targets import Target, load_target
from tinyml.text.device import write_tokenizer_folder
from tinyml.zoo import get_model

HERE = Path(__file__).parent
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


def compile_for(target: Target, folder: Path) -> tuple[Program, Path]:
    """The firmware image for a board, and the export it holds."""
    spec = f"zoo:{MODEL}"
    exported = folder / target.name
    if not (exported / "report.json").exists():
        samples = need_samples(open_samples(None, spec, "calibration"), spec)
        test = open_samples(None, spec, "test")
        source = open_source(spec, samples.shapes)
        export(source, target, samples, test, exported, QuantiseOptions())
    sources = folder / "tokenizer"
    write_tokenizer_folder(open_tokenizer(spec), "text", sources)
    facts = get_model(MODEL).facts
    assert facts is not None
    names = ", ".join(f'"{name}"' for name in facts["classes"])
    (sources / "classes.h").write_text(
        "/* SPDX-License-Identifier: Apache-2.0 */\n"
        f"static const char *const classes[] = {{{names}}};\n"
    )
    application = [HERE / "classify.c", *sorted(sources.glob("*.c"))]
    name = MODEL.replace("-", "_")
    build = folder / f"{target.name}-build"
    return build_program(exported / "c", name, target, build, application=application), exported


def classify(program: Program, target: Target, folder: Path, message: bytes) -> str:
    """What the firmware says of a message."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_bytes(message)
    command = run_command(program, target, None)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()


def main() -> None:
    """Compiles, links, runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("messages", nargs="*", default=list(MESSAGES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", nargs="+", default=["cortex-m4", "cortex-m55"])
    given = parser.parse_args()
    for name in given.target:
        target = load_target(name)
        program, _ = compile_for(target, given.out)
        use = program.memory
        print(
            f"{name}: model {use.weights:,} B, model and kernels' code {use.code:,} B, tokenizer "
            f"and program {use.runtime_flash:,} B of flash; arena {use.arena:,} B, text and "
            f"tokenizer {use.runtime_ram:,} B of RAM"
        )
        for message in given.messages:
            said = classify(program, target, given.out / "run", message.encode())
            print(f"  {said:60} <- {message.splitlines()[0]}")


if __name__ == "__main__":
    main()
