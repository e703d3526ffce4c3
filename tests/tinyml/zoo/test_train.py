# SPDX-License-Identifier: Apache-2.0
"""Training on a small real problem: determinism, resuming, what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.tinyml.zoo.test_data import load_or_skip
from tinyml.errors import DatasetError
from tinyml.export import compile_model
from tinyml.ir.tensor import DType
from tinyml.source import open_source
from tinyml.targets import load_target
from tinyml.zoo import get_model
from tinyml.zoo.data import Dataset
from tinyml.zoo.images import ImageModel
from tinyml.zoo.train import Recipe, accuracy, augment, load_weights, save_weights, train

RECIPE = Recipe(epochs=3, batch=32, rate=2e-2)


@pytest.fixture(scope="module")
def bars() -> Dataset:
    """Noisy images of 12x12 pixels: a horizontal or a vertical bar somewhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.2, (384, 1, 12, 12)).astype(np.float32)
    y = rng.integers(0, 2, 384)
    for image, label in zip(x[:, 0], y, strict=True):
        place = rng.integers(3, 9)
        (image if label else image.T)[place] += 1
    note = "none"
    return Dataset(
        "bars", x[:256], y[:256], x[256:320], y[256:320], x[320:], y[320:], note, "made by a test"
    )


def build() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Linear(128, 2),
        )


def quiet(step: int, steps: int, loss: float) -> None:
    pass


def weights(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "bars.npz", allow_pickle=False) as stored:
        return {k: stored[k] for k in stored.files}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)


def test_a_run_learns_and_writes_what_it_measured(bars: Dataset, tmp_path: Path):
    calls: list[tuple[int, int]] = []
    facts = train(build, bars, RECIPE, tmp_path, "bars", lambda s, n, loss: calls.append((s, n)))
    assert calls == [(i + 1, 24) for i in range(24)]
    assert facts["test_accuracy"] > 0.9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bars.json", "bars.npz", "bars.svg"]
    assert json.loads((tmp_path / "bars.json").read_text(encoding="utf-8")) == facts
    assert facts["recipe"]["seed"] == RECIPE.seed
    assert facts["data_licence"] == "made by a test"
    assert facts["preprocessing"] == "none"
    assert facts["torch"] == torch.__version__
    assert date.fromisoformat(facts["date"])
    assert (tmp_path / "bars.svg").read_text(encoding="utf-8").startswith("<?xml")
    model = build()
    load_weights(model, tmp_path / "bars.npz")
    assert accuracy(model, bars.test_x, bars.test_y) == facts["test_accuracy"]
    # The kept epoch is the best of the validation split.
    assert accuracy(model, bars.val_x, bars.val_y) == facts["val_accuracy"]
    assert facts["val_accuracy"] == max(h["val_accuracy"] for h in facts["history"])


def test_the_kept_epoch_is_best_by_validation_neither_the_last_nor_by_test(
    bars: Dataset, tmp_path: Path
):
    # With its labels swapped the validation split likes the least trained epoch best.
    swapped = replace(bars, val_y=1 - bars.val_y)
    facts = train(build, swapped, RECIPE, tmp_path, "bars", quiet)
    reached = [h["val_accuracy"] for h in facts["history"]]
    assert facts["val_accuracy"] == max(reached) > reached[-1]
    model = build()
    load_weights(model, tmp_path / "bars.npz")
    assert accuracy(model, swapped.val_x, swapped.val_y) == facts["val_accuracy"]


def test_two_runs_give_the_same_weights_whatever_the_global_seed(bars: Dataset, tmp_path: Path):
    for folder in ("a", "b"):
        torch.rand(3)
        train(build, bars, RECIPE, tmp_path / folder, "bars", quiet)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    train(build, bars, replace(RECIPE, seed=2), tmp_path / "c", "bars", quiet)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [9, 16, 17, 24])
def test_a_stopped_run_ends_as_if_it_had_not_been(bars: Dataset, tmp_path: Path, at: int):
    whole = train(build, bars, RECIPE, tmp_path / "whole", "bars", quiet)

    def stop(step: int, steps: int, loss: float) -> None:
        if step == at:
            raise KilledError

    parts = tmp_path / "parts"
    with pytest.raises(KilledError):
        train(build, bars, RECIPE, parts, "bars", stop)
    assert [p.name for p in parts.iterdir()] == ["bars.checkpoint"]
    seen: list[int] = []
    resumed = train(build, bars, RECIPE, parts, "bars", lambda s, n, loss: seen.append(s))
    assert seen[0] == (at - 1) // 8 * 8 + 1
    assert same(weights(parts), weights(tmp_path / "whole"))
    assert resumed["history"] == whole["history"]
    assert resumed["test_accuracy"] == whole["test_accuracy"]


def test_a_kill_while_the_checkpoint_is_written_leaves_the_last_one(
    bars: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = torch.save
    writes: list[Path] = []

    def half(state: object, path: Path) -> None:
        writes.append(path)
        if len(writes) < 2:
            real(state, path)
            return
        path.write_bytes(b"half")
        raise KilledError

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KilledError):
        train(build, bars, RECIPE, tmp_path, "bars", quiet)
    monkeypatch.undo()
    seen: list[int] = []
    train(build, bars, RECIPE, tmp_path, "bars", lambda s, n, loss: seen.append(s))
    assert seen[0] == 9
    # Nothing of the killed run stays behind.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bars.json", "bars.npz", "bars.svg"]


def test_a_checkpoint_of_another_recipe_is_not_resumed(bars: Dataset, tmp_path: Path):
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 9:
            raise KilledError

    with pytest.raises(KilledError):
        train(build, bars, RECIPE, tmp_path, "bars", stop)
    seen: list[int] = []
    other = replace(RECIPE, rate=1e-2)
    train(build, bars, other, tmp_path, "bars", lambda s, n, loss: seen.append(s))
    assert seen[0] == 1


def test_an_epoch_may_take_some_of_the_images_others_each_time(
    bars: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[torch.Tensor] = []

    def remember(images: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(images)
        return images

    monkeypatch.setattr("tinyml.zoo.train.augment", remember)
    few = replace(RECIPE, images=100)
    calls: list[tuple[int, int]] = []
    known = {"float_accuracy_before": 0.5}
    facts = train(
        build, bars, few, tmp_path, "bars", lambda s, n, loss: calls.append((s, n)), None, known
    )
    assert calls == [(i + 1, 9) for i in range(9)]
    epochs = [torch.cat(seen[i : i + 3]) for i in (0, 3, 6)]
    assert all(len(torch.unique(e, dim=0)) == 96 for e in epochs)
    assert len(torch.unique(torch.cat(epochs), dim=0)) > 150
    assert facts["float_accuracy_before"] == 0.5
    assert json.loads((tmp_path / "bars.json").read_text(encoding="utf-8")) == facts
    # More than there are is all of them.
    again = train(build, bars, replace(RECIPE, images=999), tmp_path, "bars", quiet)
    assert again["recipe"]["images"] == 999 and len(seen) == 9 + 24


def test_a_damaged_checkpoint_is_named(bars: Dataset, tmp_path: Path):
    (tmp_path / "bars.checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(DatasetError, match=r"bars\.checkpoint cannot be read") as caught:
        train(build, bars, RECIPE, tmp_path, "bars", quiet)
    assert "Delete it" in caught.value.hint


def test_weights_survive_the_file(tmp_path: Path):
    model = build()
    save_weights(model, tmp_path / "w.npz")
    other = build()
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    load_weights(other, tmp_path / "w.npz")
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


# Augmentation.


def test_augmentation_of_nothing_is_the_identity():
    images = torch.rand(4, 1, 28, 28)
    still = replace(RECIPE, rotate=0.0, scale=0.0, shift=0.0)
    assert torch.allclose(augment(images, still, torch.Generator()), images, atol=1e-5)


def centre(images: torch.Tensor) -> torch.Tensor:
    """(count, 2): x and y of the centre of mass, in pixels."""
    places = torch.arange(images.shape[2], dtype=torch.float32)
    mass = images.sum((1, 2, 3))
    x = (images.sum((1, 2)) * places).sum(1) / mass
    return torch.stack([x, (images.sum((1, 3)) * places).sum(1) / mass], 1)


def test_augmentation_moves_by_at_most_the_shift_and_each_image_apart():
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 12:16, 12:16] = 1
    only = replace(RECIPE, rotate=0.0, scale=0.0)
    moved = centre(augment(images, only, torch.Generator().manual_seed(0))) - centre(images)
    assert float(moved.abs().max()) <= 28 * only.shift + 1e-3
    assert float(moved.abs().max()) > 0.9 * 28 * only.shift
    assert len(torch.unique(moved[:, 0].round(decimals=3))) > 150


def test_augmentation_turns_by_at_most_the_angle():
    images = torch.zeros(200, 1, 29, 29)
    images[:, :, 14, 22:27] = 1
    only = replace(RECIPE, scale=0.0, shift=0.0)
    place = centre(augment(images, only, torch.Generator().manual_seed(0))) - 14
    angle = torch.rad2deg(torch.atan2(place[:, 1], place[:, 0])).abs()
    assert 0.9 * only.rotate < float(angle.max()) <= only.rotate + 0.5
    # A rotation keeps the distance from the middle.
    assert torch.allclose(place.norm(dim=1), torch.tensor(10.0), atol=0.3)


@pytest.mark.long
def test_shipped_weights_are_tuned_under_rounding_and_the_file_exports(tmp_path: Path):
    model = replace(get_model("tinynet-mnist"), dataset="mnist-5k")
    load_or_skip("mnist-5k")
    assert isinstance(model, ImageModel)
    seen: list[int] = []
    facts = model.train_qat(tmp_path, lambda step, steps, loss: seen.append(step), 1)
    assert seen == list(range(1, 47))
    assert facts["test_accuracy"] >= facts["rounded_accuracy_before"] - 0.005
    source = open_source(str(tmp_path / "tinynet-mnist-qat.onnx"), None)
    graph = compile_model(source, load_target("host"), None).graph
    assert all(graph.out(n).dtype is DType.INT8 for n in graph.nodes)
    assert not list(tmp_path.glob("*.checkpoint*"))


def test_a_model_without_weights_has_nothing_to_tune(tmp_path: Path):
    model = get_model("tinynet-a")
    assert isinstance(model, ImageModel)
    with pytest.raises(DatasetError, match="no shipped weights"):
        model.train_qat(tmp_path, lambda step, steps, loss: None)
