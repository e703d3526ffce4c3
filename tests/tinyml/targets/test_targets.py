# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tinyml.errors import TargetError
from tinyml.runtimes.build import firmware_root
from tinyml.targets import list_targets, load_target, target_from_json

GOOD = """
name = "mine"
description = "my board"
port = "mps2_an386"
compiler = "arm-none-eabi-gcc"
packages = ["gcc-arm-none-eabi"]
flags = ["-mcpu=cortex-m4"]
features = ["dsp"]
flash_bytes = 524288
ram_bytes = 65536
"""


def test_every_shipped_target_has_a_port():
    known = {t.name for t in list_targets()}
    assert known == {"cortex-m0", "cortex-m4", "cortex-m55", "cortex-m7", "host", "riscv32"}
    for target in list_targets():
        port = firmware_root() / "ports" / target.port
        assert (port / "board.ld").is_file() or (port / "port.c").is_file()


def test_a_target_survives_json():
    for target in list_targets():
        assert target_from_json(json.loads(json.dumps(asdict(target)))) == target


def test_a_users_own_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    target = load_target(str(path))
    assert target.ram_bytes == 65536
    assert target.qemu is None


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(TargetError) as caught:
        load_target("cortex-m5")
    assert "cortex-m5" in caught.value.message
    assert "Did you mean 'cortex-m" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("ram_bytes = 65536", "ram_bytes = -1"), "ram_bytes = -1"),
        (("ram_bytes = 65536", "ram_bytes = 9999999999999"), "ram_bytes = 9999999999999"),
        (("ram_bytes = 65536", 'ram_bytes = "64k"'), "'ram_bytes' must be a whole number"),
        (("ram_bytes = 65536", "ram_bytes = true"), "'ram_bytes' must be a whole number"),
        (("ram_bytes = 65536", ""), "key 'ram_bytes' is missing"),
        (('features = ["dsp"]', 'features = ["warp"]'), "warp"),
        (('features = ["dsp"]', "features = 3"), "'features' must be a list of texts"),
        (("name =", "nmae ="), "unknown key nmae"),
        (("name =", "name"), "no TOML file"),
        (('port = "mps2_an386"', 'port = "x"\nqemu = 3'), "'qemu' must be a table"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, change: tuple[str, str], named: str):
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(TargetError) as caught:
        load_target(str(path))
    assert named in caught.value.message
    assert "bad.toml" in caught.value.message


def test_a_missing_file_is_named():
    with pytest.raises(TargetError, match=r"gone\.toml"):
        load_target("gone.toml")


REGIONS = """
[[regions]]
name = "dtcm"
bytes = 16384

[[regions]]
name = "sram"
bytes = 32768
"""


def test_regions_of_ram(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + REGIONS)
    target = load_target(str(path))
    assert [(r.name, r.bytes) for r in target.regions] == [("dtcm", 16384), ("sram", 32768)]
    assert target_from_json(json.loads(json.dumps(asdict(target)))) == target


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("bytes = 32768", "bytes = 0"), "region 'sram': bytes = 0"),
        (("bytes = 32768", "bytes = 65536"), "the regions hold 81,920 B"),
        (("bytes = 32768", "bytes = -5"), "bytes = -5"),
        (("bytes = 32768", "bytes = 1.5"), "'regions.bytes' must be a whole number"),
        (('name = "sram"', 'name = "dtcm"'), "two regions are named 'dtcm'"),
        (('name = "sram"', 'name = "s ram"'), "'s ram' is no C identifier"),
        (('name = "sram"', 'colour = "red"'), "unknown key regions.colour"),
        (("[[regions]]", "[regions]"), "no TOML file"),
    ],
)
def test_impossible_regions_are_refused(tmp_path: Path, change: tuple[str, str], named: str):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + REGIONS.replace(*change))
    with pytest.raises(TargetError) as caught:
        load_target(str(path))
    assert named in caught.value.message


def test_weights_in_slow_flash(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "[slow_weights]\ncopy_bytes = 8192\n")
    target = load_target(str(path))
    assert target.slow_weights is not None
    assert target.slow_weights.copy_bytes == 8192
    assert target_from_json(json.loads(json.dumps(asdict(target)))) == target
    for wrong in ("-1", "65537"):
        path.write_text(GOOD + f"[slow_weights]\ncopy_bytes = {wrong}\n")
        with pytest.raises(TargetError, match=f"slow_weights.copy_bytes = {wrong} is not between"):
            load_target(str(path))
