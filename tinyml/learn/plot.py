# SPDX-License-Identifier: Apache-2.0
"""A learner's way through a stream as a picture."""

from __future__ import annotations

from pathlib import Path

from tinyml.learn.play import Stream


def plot_stream(stream: Stream, window: int, path: Path, drift: int | None = None) -> None:
    """Writes accuracy (or error) over samples, learning against static.

    Args:
        window: samples of a mean.
        path: .svg or .png.
        drift: the sample at which the world changed, if it is known.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "tinyml"
    rows = stream.windows(window)
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    seen = [r[0] for r in rows]
    factor = 1 if stream.measures_errors else 100
    axes.plot(seen, [factor * r[1] for r in rows], color="#1a7f4b", lw=2, label="learning")
    axes.plot(seen, [factor * r[2] for r in rows], color="#8a94a0", lw=2, label="static")
    if drift is not None:
        axes.axvline(drift, color="#b3541e", ls="--", lw=1)
        axes.annotate(
            "drift",
            (drift, axes.get_ylim()[0]),
            color="#b3541e",
            xytext=(4, 4),
            textcoords="offset points",
        )
    axes.set_xlabel("samples seen")
    axes.set_ylabel("mean squared error" if stream.measures_errors else "accuracy, %")
    axes.set_title(f"{stream.model} on {stream.place}, means of {window}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, dpi=150)
    pyplot.close(figure)
