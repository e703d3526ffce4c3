# SPDX-License-Identifier: Apache-2.0
"""The `tinyml` command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from tinyml.errors import CalibrationError, DatasetError, LearnError, TinymlError
from tinyml.progress import Advance, Progress, silent

if TYPE_CHECKING:
    from tinyml.zoo import ZooModel

app = typer.Typer(
    help="Compile trained models to int8 TFLite-Micro, ONNX and C firmware that are equal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
zoo_app = typer.Typer(help="Models that come with tinyml.", no_args_is_help=True)
app.add_typer(zoo_app, name="zoo")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class Place(StrEnum):
    """Where `tinyml run` and `tinyml classify` run."""

    host = "host"
    qemu = "qemu"


def main() -> None:
    """Runs the command; errors a user can cause end it with status 1 and one clear message."""
    try:
        app()
    except TinymlError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": error.message, "hint": error.hint}))
        else:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]error:[/] {_plain(error.message)}", soft_wrap=True)
            if error.hint:
                console.print(f"[bold]hint:[/]  {_plain(error.hint)}", soft_wrap=True)
        raise SystemExit(1) from None


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


@contextmanager
def _bars(quiet: bool) -> Iterator[Progress]:
    """Progress bars on standard error; none for programs."""
    if quiet:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def announce(label: str, total: int) -> Advance:
            task = bars.add_task(label, total=total)
            return lambda: bars.advance(task)

        yield announce


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(help="FILE.onnx, int8 FILE.tflite, FILE.py:NAME, FILE.pt2, zoo:NAME."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    target: Annotated[
        str, typer.Option(help="A name of `tinyml targets`, or your own .toml file.")
    ] = "cortex-m4",
    calibration: Annotated[
        str | None,
        typer.Option(help="Real inputs: FILE.npy, FILE.npz (array x) or zoo:DATASET."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Held-out inputs, with labels y for accuracy; same forms."),
    ] = None,
    observer: Annotated[
        str, typer.Option(help="How ranges are chosen: minmax, mse, entropy, percentile[:99.99].")
    ] = "minmax",
    equalise: Annotated[
        bool, typer.Option(help="Even out channels between layers, exact in float.")
    ] = False,
    bias_correction: Annotated[
        bool, typer.Option(help="Fold the mean error of each layer into its bias.")
    ] = False,
    snr: Annotated[
        float | None,
        typer.Option(help="Raise layers to int16 until the output reaches this ratio in dB."),
    ] = None,
    overrides: Annotated[
        Path | None, typer.Option(help="A .toml file of your own choices by layer.")
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure what each layer costs (with --snr too).")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(help="Your own weights for a zoo model (.npz, .safetensors, .pth)."),
    ] = None,
    sparse: Annotated[
        str | None,
        typer.Option(help="Pruned layers: auto (fewest instructions), flash (smallest), off."),
    ] = None,
    optimise: Annotated[
        str,
        typer.Option(
            help="What kernels are chosen for: speed, size (of code and weights), or balanced: "
            "a kilobyte more of code must save 8 % of the instructions."
        ),
    ] = "balanced",
    learn: Annotated[
        str | None,
        typer.Option(help="Also write C that trains on the device: head, all, or LAYER,LAYER."),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Of --learn: sgd, or momentum (4 B more for each weight).")
    ] = "sgd",
    loss: Annotated[
        str, typer.Option(help="What --learn minimises: cross-entropy, mse or bce.")
    ] = "cross-entropy",
    learn_ram: Annotated[
        int | None,
        typer.Option(min=1, help="Bytes of RAM for learning: trains what is worth most in them."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Room for so many classes, to add some on the device.")
    ] = None,
    standardise: Annotated[
        str, typer.Option(help="Of inputs on the device: off, warmup[:SAMPLES], ema[:SAMPLES].")
    ] = "off",
    rate: Annotated[float, typer.Option(help="Default learning rate of --learn.")] = 0.01,
    learned: Annotated[
        Path | None,
        typer.Option(help="Compile weights that devices trained: float32 as `fleet train` saves."),
    ] = None,
    patches: Annotated[
        int,
        typer.Option(
            min=1,
            help="Make the first layers in so many patches of columns, where that saves RAM; "
            "seams are computed twice, and the report says what it costs.",
        ),
    ] = 1,
    keep_channels: Annotated[
        bool,
        typer.Option(
            "--keep-channels",
            help="Keep channels that these weights make constant, so that weights trained later "
            "fit the same code.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compile in memory and say what would be made.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile MODEL to int8 TFLite, ONNX and C, verify them against each other, and report."""
    from tinyml.export import CodeOptions, check_replaceable, compile_model, make_learner_of
    from tinyml.export import export as run_export
    from tinyml.learn import LearnOptions, Loss, Optimizer, choose, parse_standardise
    from tinyml.learn.weights import Learned, read_vector
    from tinyml.quantize import QuantiseOptions, load_overrides
    from tinyml.report import print_report
    from tinyml.source import need_samples, open_samples, open_source
    from tinyml.targets import load_target

    board = load_target(target)
    if sparse is not None:
        board = board.with_sparse(sparse)
    check_replaceable(out)
    asked = None
    if learn is not None:
        mode, window = parse_standardise(standardise)
        asked = LearnOptions(
            learn,
            choose(Optimizer, optimizer, "--optimizer"),
            choose(Loss, loss, "--loss"),
            learn_ram,
            classes,
            mode,
            window,
            rate,
        )
    samples = open_samples(calibration, model, "calibration", weights)
    source = open_source(model, samples.shapes if samples else None, weights, samples)
    if source.needs_calibration:
        samples = need_samples(samples, model)
    elif calibration is not None and not source.uses_calibration:
        raise CalibrationError(
            f"'{model}' is int8 already: its ranges are fixed", "Leave --calibration out."
        )
    held_out = open_samples(test, model, "test", weights)
    if not as_json and held_out is None:
        basis = "the calibration samples" if samples else "random integers"
        Console(stderr=True).print(f"No --test samples: verifying on {basis}, no accuracy.")
    choices = load_overrides(overrides) if overrides else ()
    options = QuantiseOptions(observer, choices, snr, sensitivity, equalise, bias_correction)
    # What learns on the device starts from these weights and leaves them.
    taken = None
    if learned is not None:
        if asked is None:
            raise LearnError(
                "--learned needs the --learn options that the weights were trained with"
            )
        taken = Learned(asked, read_vector(learned))
    code = CodeOptions(keep_channels or learn is not None, taken, patches, optimise)
    with _bars(as_json) as progress:
        if dry_run:
            few = samples.take(16) if samples else None
            made = compile_model(source, board, few, options, progress, code)
            if held_out is not None:
                held_out.columns(made.float_graph or made.graph)
            learner = None if asked is None else make_learner_of(made, asked, few, board)
        else:
            made_report = run_export(
                source, board, samples, held_out, out, options, progress, asked, code
            )
    if dry_run:
        plan = {
            "model": source.name,
            "target": board.name,
            "operators": len(made.graph.nodes),
            "arena": made.plan.arena_bytes,
            "weights": len(made.c_model.weights),
            "out": str(out),
        }
        if learner is not None:
            plan["learn"] = learner.facts.to_json()
        if as_json:
            _print_json(plan)
        else:
            print(
                f"{plan['model']} for {plan['target']}: {plan['operators']} operators, arena "
                f"{plan['arena']:,} B, weights {plan['weights']:,} B. Nothing was written; "
                f"{out} would be made."
            )
            if learner is not None:
                facts = learner.facts
                print(
                    f"Learning: {facts.weight_count:,} trained weights, RAM {facts.ram_bytes:,} B "
                    f"(state {facts.state_bytes:,}, work {facts.work_bytes:,})."
                )
    elif as_json:
        _print_json(made_report)
    else:
        print_report(made_report, Console())
        extra = ("  learn/" if asked else "") + ("  text/" if source.text else "")
        print(f"{out}/: model.tflite  model.onnx  c/{extra}  report.html  report.json")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file, or an export folder.")],
    as_json: Json = False,
) -> None:
    """List the operators of a model: shapes, types, MACs."""
    from tinyml.inspect import inspect_file

    rows = inspect_file(file)
    if as_json:
        _print_json([asdict(r) for r in rows])
        return
    table = Table()
    for heading in ("#", "layer", "operator", "output", "type", "MACs", "constants, B"):
        table.add_column(heading, justify="right" if heading in "#MACsconstants, B" else "left")
    for index, row in enumerate(rows):
        shape = "x".join(str(d) for d in row.shape)
        table.add_row(
            str(index), row.name, row.op, shape, row.dtype, f"{row.macs:,}", f"{row.weights:,}"
        )
    console = Console()
    console.print(table)
    macs, constants = sum(r.macs for r in rows), sum(r.weights for r in rows)
    console.print(f"{len(rows)} operators, {macs:,} MACs, {constants:,} B of constants")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="An export folder.")], as_json: Json = False
) -> None:
    """Run an export on every runtime again and compare the integers."""
    from tinyml.export import verify_export
    from tinyml.report.terminal import print_checks

    with _bars(as_json) as progress:
        stored, checks = verify_export(folder, progress)
    plain = [c.to_json() for c in checks]
    if as_json:
        _print_json({"verified": True, "checks": plain})
    else:
        print_checks(plain, stored["verified_on"], Console())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="An export folder.")], as_json: Json = False
) -> None:
    """Show the report of an export again."""
    from tinyml.opened import read_report
    from tinyml.report import print_report

    stored = read_report(folder)
    if as_json:
        _print_json(stored)
    else:
        print_report(stored, Console())


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="An export folder.")],
    on: Annotated[Place, typer.Option(help="This machine, or the emulated target.")] = Place.host,
    samples: Annotated[int, typer.Option(min=1, help="How many stored samples.")] = 3,
    layers: Annotated[bool, typer.Option("--layers", help="Count each layer (qemu).")] = False,
    as_json: Json = False,
) -> None:
    """Run the generated C on stored samples; on qemu, with exact instruction counts."""
    from tinyml.measure import run_export

    result = run_export(folder, on_target=on is Place.qemu, samples=samples, layers=layers)
    if as_json:
        _print_json(asdict(result))
        return
    table = Table(title=f"{result.model} on {result.place}", title_justify="left")
    for heading in ("sample", "output", "instructions"):
        table.add_column(heading, justify="left" if heading == "output" else "right")
    for index, values in enumerate(result.outputs):
        text = ", ".join(f"{v:.4g}" for v in values[:10]) + (" ..." if len(values) > 10 else "")
        count = f"{result.instructions[index]:,}" if result.instructions else "-"
        table.add_row(str(index), text, count)
    console = Console()
    console.print(table)
    if result.layers:
        by_layer = Table(title="Instructions by layer, first sample", title_justify="left")
        for heading in ("#", "operator", "layer", "instructions"):
            by_layer.add_column(heading, justify="right" if heading in "#instructions" else "left")
        for index, layer in enumerate(result.layers):
            by_layer.add_row(str(index), layer.op, layer.name, f"{layer.instructions:,}")
        console.print(by_layer)
    if result.stack_bytes is not None:
        console.print(f"deepest stack: {result.stack_bytes:,} B")


@app.command()
def learn(
    folder: Annotated[Path, typer.Argument(help="An export made with --learn.")],
    data: Annotated[
        str, typer.Option(help="The stream: FILE.npz with x and y in order, or zoo:DATASET.")
    ],
    on: Annotated[Place, typer.Option(help="This machine, or the emulated target.")] = Place.host,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    outlier: Annotated[
        float, typer.Option(help="Guard samples beyond so many standard deviations; 0: none.")
    ] = 0.0,
    samples: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    window: Annotated[int, typer.Option(min=1, help="Samples of each mean shown.")] = 100,
    plot: Annotated[Path | None, typer.Option(help="Write a picture, .svg or .png.")] = None,
    drift: Annotated[
        int | None, typer.Option(help="Where the stream changes, to mark it in the picture.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Stream labelled samples through an export's learner: test, then train, on each."""
    from tinyml.learn.play import play
    from tinyml.learn.plot import plot_stream
    from tinyml.source import need_samples, open_samples

    if rate is not None and not rate > 0:
        raise LearnError(f"the learning rate {rate} is not positive")
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise LearnError(f"a picture cannot be written as '{plot.name}'", "Use .svg or .png.")
    given = need_samples(open_samples(data, data, "test", None), data)
    on_target = on is Place.qemu
    stream = play(folder, given, on_target=on_target, rate=rate, outlier=outlier, limit=samples)
    rows = stream.windows(window)
    if plot is not None:
        plot_stream(stream, window, plot, drift)
    if as_json:
        _print_json({**asdict(stream), "loss": stream.loss.value, "windows": rows})
        return
    table = Table(title=f"{stream.model} on {stream.place}", title_justify="left")
    measure = "squared error" if stream.measures_errors else "accuracy"
    for heading in ("samples seen", f"{measure}, learning", f"{measure}, static"):
        table.add_column(heading, justify="right")
    for seen, learning, static in rows:
        cells = [
            f"{v:.4g}" if stream.measures_errors else f"{100 * v:.1f} %" for v in (learning, static)
        ]
        table.add_row(f"{seen:,}", *cells)
    console = Console()
    console.print(table)
    counts = ", ".join(f"{count:,} {status}" for status, count in stream.statuses.items())
    print(f"{counts}; drift detected {stream.drifts} times; RAM {stream.ram_bytes:,} B")
    if stream.step is not None and stream.predict is not None:
        print(f"instructions: {stream.predict:,} to predict, {stream.step:,} to predict and learn")
    if plot is not None:
        print(f"written: {plot}")


@app.command()
def targets(as_json: Json = False) -> None:
    """List the boards models can be compiled for."""
    from tinyml.targets import list_targets

    known = list_targets()
    if as_json:
        _print_json([asdict(t) for t in known])
        return
    table = Table()
    for heading in ("target", "flash", "RAM", "emulated", "description"):
        table.add_column(heading, justify="right" if heading in ("flash", "RAM") else "left")
    for t in known:
        sizes = ("", "") if t.is_host else (_kib(t.flash_bytes), _kib(t.ram_bytes))
        emulated = t.qemu.machine if t.qemu else "native"
        table.add_row(t.name, *sizes, emulated, t.description)
    Console().print(table)


@app.command()
def tokenizer(
    source: Annotated[
        str, typer.Argument(help="zoo:NAME of a text model, or FILE.tokenizer.json.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the C sources.")],
    name: Annotated[str, typer.Option(help="C identifier: the sources define NAME_tokenizer.")] = (
        "text"
    ),
    as_json: Json = False,
) -> None:
    """Write a tokenizer as C for the device: raw UTF-8 text to the ids a text model takes."""
    from tinyml.importers.names import identifier
    from tinyml.source import open_tokenizer
    from tinyml.text.device import write_tokenizer_folder

    made = write_tokenizer_folder(open_tokenizer(source), identifier(name), out)
    names = sorted(made.files)
    if as_json:
        _print_json({"out": str(out), "files": names, "table_bytes": made.flash_bytes})
    else:
        print(f"{out}/: {', '.join(names)}, tables of {made.flash_bytes:,} B; compile every .c")


@app.command()
def classify(
    folder: Annotated[Path, typer.Argument(help="An export of a text model.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, each in quotes.")] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="A file that holds one text; may be repeated.")
    ] = None,
    on: Annotated[Place, typer.Option(help="This machine, or the emulated target.")] = Place.host,
    as_json: Json = False,
) -> None:
    """Raw texts to labels, by the generated firmware: tokenizer, model and program in one image."""
    from tinyml.text.classify import classify_texts

    given = [(text, os.fsencode(text)) for text in texts or []]
    for path in file or []:
        try:
            given.append((str(path), path.read_bytes()))
        except OSError as error:
            raise TinymlError(f"{path} cannot be read: {error.strerror}") from None
    if not given:
        raise TinymlError("there is no text to classify", "Give texts, or --file FILE.")
    with _bars(as_json) as progress:
        raw = [text for _, text in given]
        made = classify_texts(folder, raw, on_target=on is Place.qemu, progress=progress)
    empty = sum(found.label is None for found in made.texts)
    if as_json:
        _print_json(asdict(made))
        raise typer.Exit(1 if empty else 0)
    table = Table(title=f"{made.model} on {made.place}", title_justify="left")
    table.add_column("text", max_width=40, no_wrap=True)
    for heading in ("label", "probability", "tokens", "notes"):
        table.add_column(heading, justify="right" if heading == "tokens" else "left")
    for (name, _), found in zip(given, made.texts, strict=True):
        share = "-" if found.label is None else f"{found.probability:.1%}"
        line = name.encode(errors="replace").decode().splitlines() or [""]
        cells = (found.label or "-", share, str(found.tokens), found.notes)
        table.add_row(_plain(line[0]), *cells)
    Console().print(table)
    if empty:
        raise TinymlError(
            f"{empty} of {len(given)} texts hold not one token to classify",
            "A text needs a letter, digit or sign; spaces and bytes that are no UTF-8 are skipped.",
        )


def _kib(value: int) -> str:
    return f"{value // 1024:,} KiB"


@zoo_app.command("list")
def zoo_list(as_json: Json = False) -> None:
    """List the zoo's models."""
    from tinyml.zoo import list_models

    models = list_models()
    if as_json:
        _print_json(
            [
                {**asdict(m), "facts": m.facts, "weights": m.weights_note, "measured": m.measured}
                for m in models
            ]
        )
        return
    table = Table()
    for heading in ("model", "description", "data", "weights", "on the test split"):
        table.add_column(heading)
    for m in models:
        table.add_row(f"zoo:{m.name}", m.description, m.dataset, m.weights_note, m.result)
    Console().print(table)
    _print_measured(models)


def _print_measured(models: Sequence[ZooModel]) -> None:
    """What `make bench-zoo` measured; bytes of weights and arena alone where it does not fit."""
    table = Table(title="Measured by make bench-zoo; >: does not fit, needs more than")
    table.add_column("model", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("float, int8")
    table.add_column("target", no_wrap=True)
    for heading in ("instructions", "flash", "RAM"):
        table.add_column(heading, justify="right", no_wrap=True)
    for m in models:
        if m.measured is None:
            continue
        quality = m.measured["quality"]
        head = (f"zoo:{m.name}", _number(m.measured, "parameters"), "-")
        if quality is not None:
            pattern = "{:.2%}" if quality["measure"] == "accuracy" else "{:.4g}"
            real, rounded = (pattern.format(quality[k]) for k in ("float", "int8"))
            told = f"{quality['measure']} {real}, {rounded} on {quality['samples']:,}"
            head = (*head[:2], told)
        for target, cost in m.measured["targets"].items():
            if "problem" in cost:
                needs = (_number(cost, k, ">") for k in ("weights", "arena"))
                counts = ("does not fit", *needs)
            else:
                counts = tuple(_number(cost, k) for k in ("instructions", "flash", "ram"))
            table.add_row(*head, target, *counts)
            head = ("", "", "")
    if table.row_count:
        Console().print(table)


def _number(record: dict[str, Any], key: str, mark: str = "") -> str:
    """A number of a record, "-" where it was made before the benchmark wrote it."""
    return f"{mark}{record[key]:,}" if key in record else "-"


@zoo_app.command("train")
def zoo_train(
    name: Annotated[str, typer.Argument(help="A trainable model of `tinyml zoo list`.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, facts and curves.")],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; the recipe's by default.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Weights to fine-tune (.npz, .safetensors, .pth); forecasters only."
        ),
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Fine-tune shipped weights under int8 rounding.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a zoo model on real data; a stopped run goes on where it was."""
    from tinyml.zoo import get_model
    from tinyml.zoo.images import ImageModel
    from tinyml.zoo.ttm.entry import ForecastModel

    model = get_model(name)
    if qat and not isinstance(model, ImageModel):
        raise DatasetError(f"'{name}' has no --qat recipe", "Image models with weights have one.")
    if start is not None and not isinstance(model, ForecastModel):
        raise DatasetError(f"'{name}' is trained from scratch only", "Leave --from out.")
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=as_json,
    ) as bars:
        task = bars.add_task("Train", total=None)

        def advance(step: int, steps: int, loss: float) -> None:
            bars.update(task, completed=step, total=steps, description=f"Train, loss {loss:.3f}")

        try:
            if isinstance(model, ImageModel) and qat:
                facts = model.train_qat(out, advance, epochs)
            elif isinstance(model, ForecastModel):
                facts = model.train(out, advance, epochs, start)
            else:
                facts = model.train(out, advance, epochs)
        except KeyboardInterrupt:
            print(
                "Stopped. The same command goes on from the last finished epoch.", file=sys.stderr
            )
            raise typer.Exit(130) from None
    if as_json:
        _print_json(facts)
    else:
        print(
            f"{name}: {model.describe(facts)} of the test split"
            + (", rounded to int8; " if qat else ". ")
            + (
                f"{100 * facts['rounded_accuracy_before']:.2f} % before. Written to "
                f"{out}/{name}-qat.onnx; use it with: tinyml export {out}/{name}-qat.onnx"
                if qat
                else f"Written to {out}/{name}.npz; use it with: tinyml export zoo:{name} "
                f"--weights {out}/{name}.npz"
            )
        )


if __name__ == "__main__":
    main()
