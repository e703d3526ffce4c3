# SPDX-License-Identifier: Apache-2.0
"""Training and fine-tuning of forecasters, resumable after a kill.

A network that mixes channels or has exogenous inputs is trained in two stages, as its authors
fine-tune: first without them, every channel a series of its own; then, with the backbone frozen,
what mixes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyml.errors import DatasetError
from tinyml.zoo.entry import read_state
from tinyml.zoo.ttm.model import TinyTimeMixer, TtmConfig, adopt_state
from tinyml.zoo.ttm.series import Float, SeriesData, batches, cut, windows

Advance = Callable[[int, int, float], None]

# What is trained while the backbone is frozen.
_MIXING = ("decoder.", "head.")


@dataclass(frozen=True)
class SeriesRecipe:
    """How a forecaster is trained.

    Args:
        epochs: passes over the windows, in each stage.
        batch: windows a step.
        stride: time steps between the windows of one epoch; each epoch starts elsewhere.
        rate: peak learning rate of the one-cycle schedule (AdamW).
        decay: weight decay.
        seed: of order and initial weights.
    """

    epochs: int = 10
    batch: int = 64
    stride: int = 3
    rate: float = 3e-3
    decay: float = 0.01
    seed: int = 1


def single_channel(config: TtmConfig) -> TtmConfig:
    """The network of one channel whose weights a mixing network starts from."""
    return replace(config, targets=1, exogenous=0, mix_channels=False)


def train_forecaster(
    data: SeriesData,
    config: TtmConfig,
    recipe: SeriesRecipe,
    folder: Path,
    name: str,
    advance: Advance,
    start: Path | None = None,
) -> dict[str, Any]:
    """Trains, keeps the epoch that is best on the validation part, and writes NAME.npz
    (weights), NAME.json (facts) and NAME.svg (curves) to ``folder``.

    A run that was stopped goes on from its last finished epoch (NAME.checkpoint).

    Args:
        data: its channels are the network's, the targets first.
        advance: called after each step with (step, steps in all, loss).
        start: weights to fine-tune, of the same network or of the one without mixing; the first
            stage is left out.

    Returns:
        The facts, as written to NAME.json.

    Raises:
        DatasetError: the checkpoint or ``start`` cannot be read, or the series are too short.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mixing = config.mix_channels or config.exogenous > 0
    stages: list[_Stage] = []
    if start is None:
        alone = single_channel(config)
        stages.append(_Stage("all", alone, _channels_alone(data, config)))
    if mixing or start is not None:
        stages.append(_Stage("mixing", config, data))
    checkpoint = _Checkpoint(folder / f"{name}.checkpoint", recipe)
    steps_each = [len(_starts(s.data, s.config, recipe, 0)) // recipe.batch for s in stages]
    steps = recipe.epochs * sum(steps_each)
    done, history, weights = 0, list[dict[str, Any]](), {} if start is None else read_state(start)
    started = time.monotonic()
    for stage, each in zip(stages, steps_each, strict=True):
        run = _Run(stage, recipe, weights, checkpoint)
        run.train(lambda step, loss, base=done: advance(base + step, steps, loss))  # type: ignore[misc]
        done += recipe.epochs * each
        history += run.history
        weights = run.best
    model = TinyTimeMixer(config)
    adopt_state(model, weights)
    facts = {
        "model": name,
        "data": data.name,
        "data_licence": data.licence,
        "preprocessing": data.preprocessing,
        "columns": list(data.columns),
        "config": asdict(config),
        "recipe": asdict(recipe),
        "fine_tuned_from": None if start is None else start.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        **evaluate(model, data),
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).date().isoformat(),
        "history": history,
    }
    if not checkpoint.resumed:
        facts["seconds"] = round(time.monotonic() - started)
    save_state(model, folder / f"{name}.npz")
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _plot(history, folder / f"{name}.svg")
    checkpoint.path.unlink(missing_ok=True)
    return facts


@dataclass(frozen=True)
class _Stage:
    """What one stage trains: all of a network, or what mixes."""

    name: str
    config: TtmConfig
    data: SeriesData


class _Run:
    """One stage, from weights to better weights."""

    def __init__(
        self,
        stage: _Stage,
        recipe: SeriesRecipe,
        weights: dict[str, Tensor],
        checkpoint: _Checkpoint,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self._stage, self._recipe, self._checkpoint = stage, recipe, checkpoint
        self._model = TinyTimeMixer(stage.config)
        if weights:
            adopt_state(self._model, weights)
        frozen = stage.name == "mixing"
        for parameter_name, parameter in self._model.named_parameters():
            parameter.requires_grad = not frozen or parameter_name.startswith(_MIXING)
        trained = [p for p in self._model.parameters() if p.requires_grad]
        each = len(_starts(stage.data, stage.config, recipe, 0)) // recipe.batch
        if each < 1:
            raise DatasetError(
                f"{stage.data.name} has fewer windows than one batch of {recipe.batch}",
                "Use a longer series or a smaller batch.",
            )
        self._steps_each = each
        self._optimiser = torch.optim.AdamW(trained, recipe.rate, weight_decay=recipe.decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, recipe.rate, recipe.epochs * each
        )
        self._deviation = torch.from_numpy(stage.data.train.std(0)[: stage.config.targets] + 1e-6)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}

    def train(self, advance: Callable[[int, float], None]) -> None:
        """Runs the epochs that are left."""
        self._resume()
        stage, recipe = self._stage, self._recipe
        for epoch in range(len(self.history), recipe.epochs):
            rng = np.random.default_rng((recipe.seed, epoch))
            self._model.train()
            total = 0.0
            starts = _starts(stage.data, stage.config, recipe, epoch)
            for step, chosen in enumerate(batches(starts, recipe.batch, rng)):
                if step == self._steps_each:
                    break
                loss = self._loss(stage.data.train, chosen)
                self._optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimiser.step()
                self._schedule.step()
                total += float(loss.detach())
                advance(epoch * self._steps_each + step + 1, float(loss.detach()))
            reached = self._validate()
            if reached < min((h["val_mse"] for h in self.history), default=np.inf):
                self.best = {k: v.detach().clone() for k, v in self._model.state_dict().items()}
            self.history.append(
                {"stage": stage.name, "loss": total / self._steps_each, "val_mse": reached}
            )
            self._save()

    def _loss(self, values: Float, starts: Any) -> Tensor:
        config = self._stage.config
        past, future = cut(values, list(starts), config.context, config.horizon)
        truth = torch.from_numpy(future[..., : config.targets])
        forecast = predict(self._model, past, future)
        return torch.mean(torch.square((forecast - truth) / self._deviation))

    def _validate(self) -> float:
        config, values = self._stage.config, self._stage.data.val
        starts = list(windows(len(values), config.context, config.horizon, 4))
        self._model.eval()
        total = 0.0
        with torch.no_grad():
            for first in range(0, len(starts), 256):
                some = starts[first : first + 256]
                total += float(self._loss(values, some)) * len(some)
        return total / len(starts)

    def _resume(self) -> None:
        state = self._checkpoint.stage(self._stage.name)
        if state is not None:
            self._model.load_state_dict(state["model"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["random"])
            self.history, self.best = state["history"], state["best"]

    def _save(self) -> None:
        self._checkpoint.save(
            self._stage.name,
            {
                "model": self._model.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "random": torch.get_rng_state(),
                "history": self.history,
                "best": self.best,
            },
        )


class _Checkpoint:
    """The state of every stage after its last finished epoch, in one file."""

    def __init__(self, path: Path, recipe: SeriesRecipe) -> None:
        self.path = path
        self._stages: dict[str, Any] = {}
        self._recipe = asdict(recipe)
        self.resumed = path.exists()
        if not self.resumed:
            return
        try:
            state = torch.load(path, weights_only=True)
            stored, self._stages = state["recipe"], dict(state["stages"])
        except Exception as error:
            raise DatasetError(
                f"{path} holds no readable checkpoint: {error}", "Delete it to start again."
            ) from None
        if stored != self._recipe:
            raise DatasetError(
                f"{path} belongs to a run with another recipe", "Delete it to start again."
            )

    def stage(self, name: str) -> dict[str, Any] | None:
        """What was saved of a stage."""
        found: dict[str, Any] | None = self._stages.get(name)
        return found

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replaces the file in one step: a kill leaves one of the two whole."""
        self._stages[name] = state
        fresh = self.path.with_suffix(".checkpoint.new")
        torch.save({"recipe": self._recipe, "stages": self._stages}, fresh)
        fresh.replace(self.path)


def predict(model: nn.Module, past: Float, future: Float) -> Tensor:
    """The forecast of a batch; of ``future`` only what is exogenous is shown to the network."""
    config: TtmConfig = model.config  # type: ignore[assignment]
    if not config.exogenous:
        made: Tensor = model(torch.from_numpy(past))
    else:
        known = torch.from_numpy(np.ascontiguousarray(future[..., config.targets :]))
        made = model(torch.from_numpy(past), known)
    return made


def _starts(data: SeriesData, config: TtmConfig, recipe: SeriesRecipe, epoch: int) -> list[int]:
    """Windows of one epoch; every epoch begins at another of ``stride`` places."""
    every = windows(len(data.train), config.context, config.horizon)
    return list(every)[epoch % recipe.stride :: recipe.stride]


def _channels_alone(data: SeriesData, config: TtmConfig) -> SeriesData:
    """Every channel as a series of its own, in its own deviations, one behind the other; the few
    windows over a seam see a step."""
    deviation = data.train.std(0) + 1e-6
    used = config.targets
    train, val, test = (
        np.ascontiguousarray((part / deviation)[:, :used].T.reshape(-1, 1).astype(np.float32))
        for part in (data.train, data.val, data.test)
    )
    return replace(data, columns=("any",), train=train, val=val, test=test)


def evaluate(model: nn.Module, data: SeriesData, stride: int = 1) -> dict[str, Any]:
    """Errors on the test part, in deviations of the training part, with three naive rules: the last
    value, the mean of the context, and what was one context length ago."""
    config: TtmConfig = model.config  # type: ignore[assignment]
    starts = list(windows(len(data.test), config.context, config.horizon, stride))
    deviation = data.train.std(0)[: config.targets].astype(np.float64) + 1e-6
    model.eval()
    sums = dict.fromkeys(("mse", "mae", "last_mse", "mean_mse", "context_ago_mse"), 0.0)
    with torch.no_grad():
        for first in range(0, len(starts), 256):
            some = starts[first : first + 256]
            past, future = cut(data.test, some, config.context, config.horizon)
            truth = future[..., : config.targets]
            seen = past[..., : config.targets]
            error = (predict(model, past, future).numpy() - truth) / deviation
            sums["mse"] += float(np.sum(np.square(error)))
            sums["mae"] += float(np.sum(np.abs(error)))
            rules = {
                "last_mse": seen[:, -1:],
                "mean_mse": seen.mean(1)[:, None],
                "context_ago_mse": seen[:, : config.horizon],
            }
            for key, naive in rules.items():
                sums[key] += float(np.sum(np.square((naive - truth) / deviation)))
    count = len(starts) * config.horizon * config.targets
    return {**{f"test_{k}": v / count for k, v in sums.items()}, "test_windows": len(starts)}


def save_state(model: nn.Module, path: Path) -> None:
    """The state dict as a compressed .npz, half precision: a forecast changes by less than int8
    weights change it."""
    kept = {k: v.numpy().astype(np.float16) for k, v in model.state_dict().items()}
    np.savez_compressed(path, **kept)


def load_state(model: nn.Module, path: Path) -> None:
    """Loads what `save_state` wrote. Raises DatasetError where a name or shape does not match."""
    adopt_state(model, read_state(path))


def _plot(history: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stage in dict.fromkeys(h["stage"] for h in history):
        places = [i + 1 for i, h in enumerate(history) if h["stage"] == stage]
        left.plot(places, [history[i - 1]["loss"] for i in places], label=stage)
        right.plot(places, [history[i - 1]["val_mse"] for i in places], label=stage)
    left.set(xlabel="epoch", title="training loss")
    right.set(xlabel="epoch", title="validation MSE, deviations squared")
    left.legend()
    figure.savefig(path, format="svg")
