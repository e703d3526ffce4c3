# SPDX-License-Identifier: Apache-2.0
"""Training from scratch: one recipe for the small classifiers, resumable after a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyml.errors import DatasetError
from tinyml.zoo.data import Dataset
from tinyml.zoo.entry import read_state
from tinyml.zoo.tinynet import adopt_state

Advance = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Args:
        epochs, batch: passes over the training data, images per step.
        images: drawn anew for each epoch; None takes all of the training data.
        rate: peak learning rate of the one-cycle schedule (AdamW).
        decay: weight decay.
        smoothing: label smoothing.
        rotate, scale, shift: augmentation: degrees, relative size, fraction of the image.
        seed: of order and augmentation; ``build`` fixes the initial weights.
    """

    epochs: int = 12
    batch: int = 128
    rate: float = 4e-3
    decay: float = 0.02
    smoothing: float = 0.05
    rotate: float = 10.0
    scale: float = 0.1
    shift: float = 0.07
    seed: int = 1
    images: int | None = None


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Rotates, scales and shifts each image at random. images: (batch, c, h, w)."""
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, size = uniform(math.radians(recipe.rotate)), 1 + uniform(recipe.scale)
    shift = torch.stack([uniform(2 * recipe.shift), uniform(2 * recipe.shift)], 1)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    theta = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    theta = torch.cat([theta, shift.unsqueeze(2)], 2)
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def accuracy(model: nn.Module, images: Any, labels: Any) -> float:
    """The fraction of images whose largest logit is the label; evaluation mode."""
    model.eval()
    hits = 0
    with torch.no_grad():
        for start in range(0, len(images), 500):
            logits = model(torch.from_numpy(images[start : start + 500]))
            hits += int((logits.argmax(1).numpy() == labels[start : start + 500]).sum())
    return hits / len(images)


def train(
    build: Callable[[], nn.Module],
    data: Dataset,
    recipe: Recipe,
    folder: Path,
    name: str,
    advance: Advance,
    store: Callable[[nn.Module, Path], None] | None = None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains, keeps the epoch that is best on the validation split, and writes
    NAME.npz (weights), NAME.json (facts) and NAME.svg (curves) to ``folder``.

    A run that was stopped goes on from its last finished epoch (NAME.checkpoint).

    Args:
        build: makes the untrained model.
        advance: called after each step with (step, steps in all, loss).
        store: writes the trained model in the place of NAME.npz, to a path without suffix.
        known: facts from before the training.

    Returns:
        The facts, as written to NAME.json.

    Raises:
        DatasetError: the checkpoint cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=recipe.decay)
    each = min(len(data.train_x), recipe.images or len(data.train_x))
    steps_each = each // recipe.batch
    steps = recipe.epochs * steps_each
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, steps)
    measure = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    checkpoint = folder / f"{name}.checkpoint"
    state = _resume(checkpoint, recipe)
    if state is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
    history: list[dict[str, float]] = state["history"] if state else []
    best: dict[str, Tensor] = state["best"] if state else {}
    images, labels = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    started = time.monotonic()
    for epoch in range(len(history), recipe.epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for step in range(steps_each):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            logits = model(augment(images[chosen], recipe, generator))
            loss = measure(logits, labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            advance(epoch * steps_each + step + 1, steps, float(loss.detach()))
        reached = accuracy(model, data.val_x, data.val_y)
        if reached > max((h["val_accuracy"] for h in history), default=-1.0):
            best = {k: v.detach().clone() for k, v in model.state_dict().items()}
        history.append({"loss": total / steps_each, "val_accuracy": reached})
        _save_checkpoint(
            checkpoint,
            {
                "recipe": asdict(recipe),
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "history": history,
                "best": best,
            },
        )
    model.load_state_dict(best)
    facts: dict[str, Any] = {
        "model": name,
        "data": data.name,
        "data_licence": data.licence,
        "preprocessing": data.preprocessing,
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "val_accuracy": max(h["val_accuracy"] for h in history),
        "test_accuracy": accuracy(model, data.test_x, data.test_y),
        "test_images": len(data.test_y),
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).date().isoformat(),
        "history": history,
        **(known or {}),
    }
    if state is None:
        facts["seconds"] = round(time.monotonic() - started)
    if store is None:
        save_weights(model, folder / f"{name}.npz")
    else:
        store(model, folder / name)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _plot(history, folder / f"{name}.svg")
    checkpoint.unlink(missing_ok=True)
    return facts


def save_weights(model: nn.Module, path: Path) -> None:
    """The state dict as a compressed .npz; counters of batches are left out."""
    state = model.state_dict()
    kept = {k: v.numpy() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    np.savez_compressed(path, **kept)


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads what `save_weights` wrote.

    Raises:
        DatasetError: a name or shape does not match.
    """
    adopt_state(model, read_state(path))


def _save_checkpoint(checkpoint: Path, state: dict[str, Any]) -> None:
    """Replaces the last checkpoint in one step: a kill leaves one of the two whole."""
    fresh = checkpoint.with_suffix(".checkpoint.new")
    torch.save(state, fresh)
    fresh.replace(checkpoint)


def _resume(checkpoint: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The state of a stopped run of the same recipe."""
    if not checkpoint.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:
        raise DatasetError(
            f"the checkpoint {checkpoint} cannot be read: {type(error).__name__}",
            "Delete it to train from the start.",
        ) from None
    return state if state["recipe"] == asdict(recipe) else None


def _plot(history: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    left.plot(epochs, [h["loss"] for h in history])
    left.set(xlabel="epoch", title="training loss")
    right.plot(epochs, [100 * h["val_accuracy"] for h in history])
    right.set(xlabel="epoch", title="validation accuracy, %")
    figure.savefig(path, format="svg")
