# SPDX-License-Identifier: Apache-2.0
"""EmbBERT-Q's training at the scale of one processor core: tokenizer, pre-training (masked tokens
and next sentence), fine-tuning. A run that was stopped goes on from its last finished epoch.

Source of the tasks: Bravin et al., arXiv 2502.10001: 15 % of the tokens masked (80 % [MASK], 10 %
random, 10 % unchanged), half of the pairs random; losses added. Rates and durations are ours.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyml.errors import DatasetError
from tinyml.text.tokenizer import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIALS,
    encode,
    load_tokenizer,
    train_tokenizer,
)
from tinyml.zoo.embbert.model import Classifier, EmbBertConfig, PreTraining
from tinyml.zoo.embbert.texts import TextDataset, Texts
from tinyml.zoo.entry import read_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    Ids = np.ndarray[tuple[int, int], np.dtype[np.int32]]

Advance = Callable[[int, int, float], None]

_PRETRAINING_HEADS = ("nsp_classifier.", "mlm_classifier.")


@dataclass(frozen=True)
class TextRecipe:
    """How a text classifier is trained.

    Args:
        pretraining_epochs, epochs: passes over the pairs of sentences, and over the texts.
        pairs: pairs drawn for each pre-training epoch.
        pair_length: most tokens of a pair.
        batch: pairs or texts a step.
        pretraining_rate, rate: peak learning rates of one-cycle schedules (AdamW).
        decay: weight decay.
        short: half of the fine-tuning batches are cut at this many tokens, a quarter at twice
            as many, so that the model may be exported for short texts too.
        token_dropout: the fraction of a training text's tokens that become [UNK].
        seed: of order, masks and initial weights.
    """

    pretraining_epochs: int = 2
    epochs: int = 10
    pairs: int = 8000
    pair_length: int = 64
    batch: int = 32
    pretraining_rate: float = 2e-3
    rate: float = 1.5e-3
    decay: float = 0.05
    short: int = 64
    token_dropout: float = 0.1
    seed: int = 1


def train_classifier(
    data: TextDataset,
    config: EmbBertConfig,
    recipe: TextRecipe,
    folder: Path,
    name: str,
    advance: Advance,
) -> dict[str, Any]:
    """Trains tokenizer and model; keeps the epoch that is best on the validation split.

    Writes NAME.tokenizer.json, NAME.npz (weights, float16), NAME.json (facts) and NAME.svg
    (curves) to ``folder``.

    Args:
        advance: called after each step with (step, steps in all, loss).

    Returns:
        The facts, as written to NAME.json.

    Raises:
        DatasetError: a file of a stopped run cannot be read, or belongs to another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    tokenizer = _tokenizer(data, config, folder / f"{name}.tokenizer.json")
    checkpoint = folder / f"{name}.checkpoint"
    state = _resume(checkpoint, recipe, config)
    resumed = bool(state)

    pairs = sentence_pairs(data.train.texts, tokenizer, recipe)
    pair_steps = min(recipe.pairs, len(pairs)) // recipe.batch
    text_steps = -(-len(data.train.texts) // recipe.batch)
    steps = recipe.pretraining_epochs * pair_steps + recipe.epochs * text_steps
    done = 0

    def told(loss: float) -> None:
        nonlocal done
        done += 1
        advance(done, steps, loss)

    torch.manual_seed(recipe.seed)
    encoder = PreTraining(config)
    history: list[dict[str, float]] = state.get("pretraining", [])
    done += len(history) * pair_steps
    if "classifier" not in state:
        optimiser, schedule = _optimiser(
            encoder, recipe.pretraining_rate, recipe, recipe.pretraining_epochs * pair_steps
        )
        _restore(state, encoder, optimiser, schedule)
        for epoch in range(len(history), recipe.pretraining_epochs):
            rng = np.random.default_rng((recipe.seed, 0, epoch))
            history.append(_pretrain_epoch(encoder, optimiser, schedule, pairs, rng, recipe, told))
            state = {"pretraining": history, **_snapshot(encoder, optimiser, schedule)}
            _save(checkpoint, state, recipe, config)

    torch.manual_seed(recipe.seed)
    model = Classifier(config, len(data.classes))
    model.model.load_state_dict(encoder.model.state_dict())
    optimiser, schedule = _optimiser(model, recipe.rate, recipe, recipe.epochs * text_steps)
    tuning: list[dict[str, float]] = state.get("tuning", [])
    best: dict[str, Tensor] = state.get("best", {})
    done += len(tuning) * text_steps
    if "classifier" in state:
        _restore(state, model, optimiser, schedule)
    train_ids = encode(tokenizer, data.train.texts, config.length)
    for epoch in range(len(tuning), recipe.epochs):
        rng = np.random.default_rng((recipe.seed, 1, epoch))
        loss = _tune_epoch(
            model, optimiser, schedule, train_ids, data.train.labels, rng, recipe, told
        )
        reached = accuracy(model, tokenizer, data.val, config.length)
        if reached > max((h["val_accuracy"] for h in tuning), default=0.0):
            best = {k: v.clone() for k, v in model.state_dict().items()}
        tuning.append({"loss": loss, "val_accuracy": reached})
        state = {"pretraining": history, "tuning": tuning, "best": best, "classifier": True}
        state.update(_snapshot(model, optimiser, schedule))
        _save(checkpoint, state, recipe, config)

    model.load_state_dict(best or model.state_dict())
    save_half(model, folder / f"{name}.npz")
    load_half(model, folder / f"{name}.npz")
    short = min(recipe.short, config.length)
    facts: dict[str, Any] = {
        "model": name,
        "data": data.name,
        "data_licence": data.licence,
        "preprocessing": data.preprocessing,
        "classes": list(data.classes),
        "config": asdict(config),
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "backbone_parameters": sum(p.numel() for p in model.model.parameters()),
        "train_texts": len(data.train.texts),
        "val_accuracy": max((h["val_accuracy"] for h in tuning), default=0.0),
        "test_accuracy": accuracy(model, tokenizer, data.test, config.length),
        "test_accuracy_short": accuracy(model, tokenizer, data.test, short),
        "test_texts": len(data.test.texts),
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).date().isoformat(),
        "pretraining": history,
        "history": tuning,
    }
    if not resumed:
        facts["seconds"] = round(time.monotonic() - started)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _plot(history, tuning, folder / f"{name}.svg")
    checkpoint.unlink(missing_ok=True)
    return facts


def _tokenizer(data: TextDataset, config: EmbBertConfig, path: Path) -> Tokenizer:
    """Trains a tokenizer on the training split, or takes the one of the stopped run."""
    if not path.exists():
        made = train_tokenizer(data.train.texts, config.vocabulary)
        fresh = path.with_suffix(".new")
        fresh.write_text(made.to_str(pretty=False), encoding="utf-8")
        fresh.replace(path)
    return load_tokenizer(path)


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def sentence_pairs(texts: Sequence[str], tokenizer: Tokenizer, recipe: TextRecipe) -> list[Any]:
    """Consecutive sentences of a text: pairs of lists of ids, each of at most half a pair's
    tokens. A sentence of fewer than 4 tokens is joined to the one before it."""
    room = (recipe.pair_length - 3) // 2
    pairs = []
    split = [[s for s in _SENTENCE_END.split(text) if s.strip()] for text in texts]
    flat = tokenizer.encode_batch([s for sentences in split for s in sentences])
    encoded = iter(flat)
    for sentences in split:
        joined: list[list[int]] = []
        for _ in sentences:
            ids = next(encoded).ids
            if joined and (len(ids) < 4 or len(joined[-1]) + len(ids) <= room // 2):
                joined[-1] = joined[-1] + ids
            else:
                joined.append(ids)
        pairs += [(a[:room], b[:room]) for a, b in zip(joined[::2], joined[1::2], strict=False)]
    if len(pairs) < recipe.batch:
        raise DatasetError("the texts hold too few sentences to pre-train on")
    return pairs


def pretraining_batch(
    pairs: Sequence[Any], chosen: Sequence[int], rng: np.random.Generator, vocabulary: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids with masked tokens, where they are masked, what they were, and whether the second
    sentence is random (1) or the next (0)."""
    is_random = rng.random(len(chosen)) < 0.5
    rows = []
    for index, swap in zip(chosen, is_random, strict=True):
        first, second = pairs[index]
        if swap:
            second = pairs[int(rng.integers(len(pairs)))][1]
        rows.append([CLS, *first, SEP, *second, SEP])
    width = max(map(len, rows))
    ids = np.full((len(rows), width), PAD, np.int64)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    masked = (rng.random(ids.shape) < 0.15) & (ids >= len(SPECIALS))
    masked[:, 1] |= ~masked.any(1) & (ids[:, 1] != PAD)  # at least one a row
    targets = ids[masked]
    kind = rng.random(ids.shape)
    shown = ids.copy()
    shown[masked & (kind < 0.8)] = MASK
    noise = rng.integers(len(SPECIALS), vocabulary, ids.shape)
    shown = np.where(masked & (kind >= 0.9), noise, shown)
    arrays = (shown, masked, targets, is_random.astype(np.int64))
    a, b, c, d = (torch.from_numpy(np.ascontiguousarray(x)) for x in arrays)
    return a, b, c, d


def _pretrain_epoch(
    encoder: PreTraining,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    pairs: Sequence[Any],
    rng: np.random.Generator,
    recipe: TextRecipe,
    told: Callable[[float], None],
) -> dict[str, float]:
    encoder.train()
    totals = np.zeros(3)
    drawn = [pairs[i] for i in rng.permutation(len(pairs))[: recipe.pairs]]
    # Pairs of like length stand together, so that little padding is computed.
    batches = _batches([len(a) + len(b) for a, b in drawn], recipe.batch, rng, whole=True)
    for chosen in batches:
        ids, masked, targets, is_random = pretraining_batch(
            drawn, chosen, rng, encoder.model.config.vocabulary
        )
        tokens, order = encoder(ids, masked)
        token_loss = nn.functional.cross_entropy(tokens, targets)
        order_loss = nn.functional.cross_entropy(order, is_random)
        _step(token_loss + order_loss, encoder, optimiser, schedule)
        right = (order.argmax(1) == is_random).float().mean()
        totals += (token_loss.item(), order_loss.item(), right.item())
        told(token_loss.item())
    count = len(drawn) // recipe.batch
    names = ("mlm_loss", "nsp_loss", "nsp_accuracy")
    return {n: float(t / count) for n, t in zip(names, totals, strict=True)}


def _tune_epoch(
    model: Classifier,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    ids: Ids,
    labels: np.ndarray[Any, np.dtype[np.int64]],
    rng: np.random.Generator,
    recipe: TextRecipe,
    told: Callable[[float], None],
) -> float:
    model.train()
    total, count = 0.0, 0
    for number, chosen in enumerate(_batches((ids != PAD).sum(1), recipe.batch, rng)):
        part = ids[chosen]
        part = part[:, : (part.shape[1], recipe.short, 2 * recipe.short, recipe.short)[number % 4]]
        part = part[:, : int((part != PAD).sum(1).max())].copy()
        dropped = (rng.random(part.shape) < recipe.token_dropout) & (part >= len(SPECIALS))
        part[dropped] = 1
        logits = model(torch.from_numpy(part.astype(np.int64)))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[chosen]))
        _step(loss, model, optimiser, schedule)
        total, count = total + loss.item(), count + 1
        told(loss.item())
    return total / count


def _batches(
    lengths: Sequence[int] | Any, size: int, rng: np.random.Generator, *, whole: bool = False
) -> Iterator[Any]:
    """Indices in batches of like length, the batches in random order."""
    jitter = np.asarray(lengths) * rng.uniform(0.9, 1.1, len(lengths))
    order = np.argsort(jitter)
    if whole:
        order = order[: len(order) // size * size]
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    for index in rng.permutation(len(parts)):
        yield parts[index]


def _optimiser(
    model: nn.Module, rate: float, recipe: TextRecipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=recipe.decay)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, max(steps, 1))


def _step(
    loss: Tensor,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def accuracy(model: Classifier, tokenizer: Tokenizer, texts: Texts, length: int) -> float:
    """The fraction of texts whose largest logit is the label, cut at ``length`` tokens."""
    model.eval()
    ids = encode(tokenizer, texts.texts, length)
    order = np.argsort((ids != PAD).sum(1))
    hits = 0
    with torch.no_grad():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            part = ids[chosen]
            part = part[:, : int((part != PAD).sum(1).max())]
            logits = model(torch.from_numpy(part.astype(np.int64)))
            hits += int((logits.argmax(1).numpy() == texts.labels[chosen]).sum())
    return hits / len(ids)


def save_half(model: nn.Module, path: Path) -> None:
    """The state dict as a compressed .npz of float16."""
    kept = {k: v.numpy().astype(np.float16) for k, v in model.state_dict().items()}
    np.savez_compressed(path, allow_pickle=False, **kept)


def load_half(model: nn.Module, path: Path) -> None:
    """Loads what `save_half` wrote. Raises DatasetError where a name or shape does not match."""
    adopt_state(model, read_state(path))


def adopt_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copies parameters by name; the heads of pre-training may be there and are left out.

    Raises:
        DatasetError: a parameter is missing, unknown or of another shape.
    """
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    for key, shape in wanted.items():
        if key not in state:
            raise DatasetError(f"the weights lack the parameter '{key}'")
        if tuple(state[key].shape) != shape:
            raise DatasetError(
                f"'{key}' has shape {tuple(state[key].shape)}, the model's has {shape}"
            )
    unknown = [k for k in state if k not in wanted and not k.startswith(_PRETRAINING_HEADS)]
    if unknown:
        raise DatasetError(f"the model has no parameter '{unknown[0]}' of the weights")
    model.load_state_dict({k: state[k] for k in wanted})


def _snapshot(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
    }


def _restore(
    state: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    if "model" in state:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])


def _save(
    checkpoint: Path, state: dict[str, Any], recipe: TextRecipe, config: EmbBertConfig
) -> None:
    """Replaces the last checkpoint in one step: a kill leaves one of the two whole."""
    fresh = checkpoint.with_suffix(".checkpoint.new")
    torch.save({**state, "recipe": asdict(recipe), "config": asdict(config)}, fresh)
    fresh.replace(checkpoint)


def _resume(checkpoint: Path, recipe: TextRecipe, config: EmbBertConfig) -> dict[str, Any]:
    """The state of a stopped run of the same recipe, empty where there is none. Raises
    DatasetError."""
    if not checkpoint.exists():
        return {}
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:
        raise DatasetError(
            f"the checkpoint {checkpoint} cannot be read: {type(error).__name__}",
            "Delete it to train from the start.",
        ) from None
    if state["recipe"] != asdict(recipe) or state["config"] != asdict(config):
        raise DatasetError(
            f"the checkpoint {checkpoint} belongs to a run with another recipe",
            "Go on with its options, or delete it to train from the start.",
        )
    return state


def _plot(pretraining: list[dict[str, float]], tuning: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots(1, 3)
    panels = (
        (pretraining, "mlm_loss", 1, "pre-training: masked-token loss"),
        (tuning, "loss", 1, "fine-tuning: loss"),
        (tuning, "val_accuracy", 100, "fine-tuning: validation accuracy, %"),
    )
    for axis, (history, key, factor, title) in zip(axes, panels, strict=True):
        axis.plot(range(1, len(history) + 1), [factor * h[key] for h in history], marker=".")
        axis.set(xlabel="epoch", title=title)
    figure.savefig(path, format="svg")
