# SPDX-License-Identifier: Apache-2.0
"""What the command says of series that are not as the network wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.tinyml.test_cli import tinyml  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.samples import load_samples  # noqa: E402
from tinyml.zoo.ttm.model import TinyTimeMixer, TtmConfig  # noqa: E402

TIME, CHANNELS = 24, 2


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = TtmConfig(TIME, 4, 6, 8, 2, 1, 8, 1, targets=CHANNELS)
    path = tmp_path_factory.mktemp("forecaster") / "mixer.onnx"
    path.write_bytes(module_to_onnx(TinyTimeMixer(config).eval(), [(1, TIME, CHANNELS)]))
    return path


def series(time: int = TIME, channels: int = CHANNELS) -> np.ndarray:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((8, time, channels)), axis=1) + 20
    return walk.astype(np.float32)


def holed() -> np.ndarray:
    values = series()
    values[2, 5, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (holed(), "sample 2 of 'past' in {file} has NaN or infinite values"),
        (series(channels=3), "have shape (24, 3), the model takes (24, 2)"),
        (series(time=20), "have shape (20, 2), the model takes (24, 2)"),
        (series()[:, :, 0], "have shape (24,), the model takes (24, 2)"),
    ],
    ids=["NaN", "channels", "short", "flat"],
)
@pytest.mark.parametrize("role", ["calibration", "test"])
def test_series_that_do_not_fit(forecaster: Path, tmp_path: Path, role: str, values, message: str):
    np.savez(tmp_path / "good.npz", past=series())
    np.savez(tmp_path / "bad.npz", past=values)
    given = {"calibration": tmp_path / "good.npz", "test": tmp_path / "good.npz"}
    given[role] = tmp_path / "bad.npz"
    out = tmp_path / "out"
    done = tinyml(
        *("export", forecaster, "--target", "host", "--out", out),
        *("--calibration", given["calibration"], "--test", given["test"]),
    )
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert message.format(file=tmp_path / "bad.npz") in said and "Traceback" not in said
    assert not out.exists()


def test_constant_series_alone_choose_no_range(forecaster: Path, tmp_path: Path):
    np.savez(tmp_path / "x.npz", past=np.full_like(series(), 7))
    command = ("export", forecaster, "--target", "host", "--out", tmp_path / "out", "--dry-run")
    done = tinyml(*command, "--calibration", tmp_path / "x.npz")
    assert done.returncode == 1
    assert "x.npz is constant: no range can be chosen" in " ".join(done.stderr.split())


def test_a_bad_sample_has_its_number_in_the_file(forecaster: Path, tmp_path: Path):
    """Also where only some of the file's samples are drawn."""
    values = np.concatenate([series()] * 8)
    values[3:, 2, 1] = np.nan
    np.savez(tmp_path / "x.npz", past=values)
    command = ("export", forecaster, "--target", "host", "--out", tmp_path / "out", "--dry-run")
    done = tinyml(*command, "--calibration", tmp_path / "x.npz")
    drawn = load_samples(tmp_path / "x.npz").take(16).places
    assert drawn is not None and done.returncode == 1
    first = next(int(p) for p in drawn if p >= 3)
    assert f"sample {first} of 'past' in" in " ".join(done.stderr.split())


def test_a_wrong_forecast_shape(forecaster: Path, tmp_path: Path):
    """Continuations of another horizon than the network's."""
    np.savez(tmp_path / "x.npz", past=series(), y=series(time=5))
    done = tinyml(
        *("export", forecaster, "--target", "host", "--out", tmp_path / "out"),
        *("--calibration", tmp_path / "x.npz", "--test", tmp_path / "x.npz"),
    )
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "have shape (5, 2), the model's output has (4, 2)" in said and "Traceback" not in said
