# SPDX-License-Identifier: Apache-2.0
"""The C tokenizer against the library it was trained by, under sanitizers."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from tinyml.errors import DatasetError
from tinyml.runtimes.build import firmware_root
from tinyml.text.device import pack_merges, write_tokenizer
from tinyml.text.tokenizer import CLS, PAD, UNK, encode, train_tokenizer
from tinyml.text.unicode import header

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HERE = Path(__file__).parent
LENGTH = 64
# 2,500 real messages, cut at 240 characters (Spam Assassin corpus, CC0-1.0).
MESSAGES: list[str] = json.loads(gzip.decompress((HERE / "messages.json.gz").read_bytes()))


@dataclass
class Device:
    """The compiled tokenizer."""

    program: Path
    tokenizer: Tokenizer

    def run(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """For each text (tokens, unknown, invalid bytes, truncated, word cut), and its ids."""
        folder = self.program.parent
        packed = b"".join(struct.pack("<I", len(t)) + t for t in texts)
        (folder / "texts.bin").write_bytes(packed)
        subprocess.run([self.program], cwd=folder, check=True)
        rows = np.fromfile(folder / "tokens.bin", np.int32).reshape(len(texts), 5 + LENGTH)
        return rows[:, :5], rows[:, 5:]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train_tokenizer(MESSAGES, 2048)
    for name, text in write_tokenizer(tokenizer, "golden").files.items():
        (folder / name).write_text(text)
    firmware = firmware_root()
    command = ["cc", "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-DLENGTH={LENGTH}", f"-I{firmware / 'include'}", f"-I{folder}"]
    sources = [HERE / "driver.c", folder / "golden_tokenizer.c", firmware / "text/tokenizer.c"]
    command += [*map(str, sources), "-o", str(folder / "driver")]
    subprocess.run(command, check=True)
    return Device(folder / "driver", tokenizer)


def assert_as_the_library(device: Device, texts: Sequence[str]) -> None:
    seen, ids = device.run([t.encode() for t in texts])
    np.testing.assert_array_equal(ids, encode(device.tokenizer, texts, LENGTH))
    whole = [1 + len(e.ids) for e in device.tokenizer.encode_batch(list(texts))]
    np.testing.assert_array_equal(seen[:, 0], np.minimum(whole, LENGTH))
    np.testing.assert_array_equal(seen[:, 1], (ids == UNK).sum(1))
    np.testing.assert_array_equal(seen[:, 3], np.array(whole) > LENGTH)
    assert not seen[:, 2].any()
    assert not seen[:, 4].any()


def test_real_messages(device: Device):
    assert len(MESSAGES) == 2500
    assert_as_the_library(device, MESSAGES)
    lines = [line for text in MESSAGES for line in text.splitlines()]
    assert len(lines) > 5000
    assert_as_the_library(device, lines)
    # Real text has what is rare: unknown characters, and texts that do not fit.
    seen, _ = device.run([t.encode() for t in MESSAGES])
    assert (seen[:, 1] > 0).sum() > 100
    assert 100 < (seen[:, 3] > 0).sum() < 2400


def test_every_code_point(device: Device):
    """Each alone between letters that merge, so that a wrong class shows in the merges."""
    codes = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["th" + "th".join(chr(c) for c in codes[i : i + 20]) for i in range(0, len(codes), 20)]
    assert_as_the_library(device, texts[:14000])
    assert_as_the_library(device, texts[14000::8])


def test_the_unicode_table_is_the_libraries():
    stored = (firmware_root() / "text" / "normalise.h").read_text()
    written = header()

    def bare(text: str) -> str:
        return "".join(text.split())

    assert bare(stored) == bare(written), "run python -m tinyml.text.unicode"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=40))
def test_any_text(device: Device, texts: list[str]):
    # A word of the library's has no upper length; ours is far beyond these.
    assert_as_the_library(device, [t.encode("utf-8", "ignore").decode() for t in texts])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=40))
def test_any_bytes(device: Device, texts: list[bytes]):
    """Bytes that are no UTF-8 are skipped, as the normaliser removes U+FFFD, and counted."""
    seen, ids = device.run(texts)
    decoded = [t.decode("utf-8", "replace") for t in texts]
    np.testing.assert_array_equal(ids, encode(device.tokenizer, decoded, LENGTH))
    for text, invalid, truncated in zip(texts, seen[:, 2], seen[:, 3], strict=True):
        if not truncated:
            assert invalid == len(text) - len(text.decode("utf-8", "ignore").encode())


def test_broken_utf8(device: Device):
    texts = [b"the\xe2\x82dog", b"\xc0\x80the", b"a\xed\xa0\x80b", b"\xf4\x90\x80\x80", b"th\xc3"]
    seen, ids = device.run([*texts, b"thedog"])
    assert seen[:, 2].tolist() == [2, 2, 3, 4, 1, 0]
    np.testing.assert_array_equal(ids[0], ids[5])
    assert ids[3].tolist() == [CLS] + [PAD] * (LENGTH - 1)


def test_a_long_word_is_cut_and_said_so(device: Device):
    seen, ids = device.run([b"th" * 128, b"th" * 129])
    assert seen[:, 4].tolist() == [0, 1]
    wanted = encode(device.tokenizer, ["th" * 128], LENGTH)
    np.testing.assert_array_equal(ids[:1], wanted)


def test_a_long_text_is_cut_and_said_so(device: Device):
    words = ["the"] * (LENGTH - 1)
    exact, beyond = " ".join(words).encode(), " ".join([*words, "dog"]).encode()
    seen, ids = device.run([exact, beyond, exact + b" \n "])
    assert seen[:, 3].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(ids[0], ids[1])


def test_a_full_vocabulary_is_small():
    tokenizer = train_tokenizer(MESSAGES, 8192)
    made = write_tokenizer(tokenizer, "t")
    assert made.flash_bytes == 5 * (tokenizer.get_vocab_size() - 72) + 94
    assert made.flash_bytes < 41_000


def test_a_vocabulary_beyond_the_table_is_refused():
    import tokenizers

    model = tokenizers.models.BPE({str(i): i for i in range(8193)}, [])
    with pytest.raises(DatasetError, match="8193 entries"):
        pack_merges(tokenizers.Tokenizer(model))


def test_the_command_writes_a_folder_that_compiles(device: Device, tmp_path: Path):
    stored = tmp_path / "t.tokenizer.json"
    device.tokenizer.save(str(stored))
    command = [sys.executable, "-m", "tinyml.cli", "tokenizer", str(stored)]
    command += ["--out", str(tmp_path / "c"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["files"] == ["text_tokenizer.c", "text_tokenizer.h"]
    assert said["table_bytes"] < 11_000
    sources = sorted((tmp_path / "c").glob("*.c"))
    assert [s.name for s in sources] == ["text_tokenizer.c", "tokenizer.c"]
    for source in sources:
        flags = ["-std=c11", "-Wall", "-Werror", "-fsyntax-only", f"-I{tmp_path / 'c'}"]
        subprocess.run(["cc", *flags, str(source)], check=True)


def test_the_command_names_what_is_wrong(tmp_path: Path):
    for source, said in (("zoo:tinynet-e", "reads no text"), ("gone.json", "does not exist")):
        command = [sys.executable, "-m", "tinyml.cli", "tokenizer", source, "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said in done.stderr
