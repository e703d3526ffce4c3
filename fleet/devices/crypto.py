# SPDX-License-Identifier: Apache-2.0
"""Fetches the C sources of the agent's cryptography, once, and checks their digests."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyml import TinymlError


@dataclass(frozen=True)
class _Archive:
    """A source package: its file, its digest, and what is wanted of it."""

    name: str
    sha256: str
    folder: str
    members: tuple[str, ...]


_MONOCYPHER = _Archive(
    "pymonocypher-4.0.3.4.tar.gz",
    "5e56e3d3eb770a53e0b9f6274146663c11a11f3d0de5cd48e3be0428d1b07a4a",
    "monocypher",
    ("monocypher.c", "monocypher.h"),
)
_MBEDTLS = _Archive(
    "mbedtls_2.28.3.orig.tar.gz",
    "3b4953aa55a681e084d31892d9904cc5328d6b4958ea57b90ae4b4f94ae69a8d",
    "mbedtls",
    (
        "library/common.h",
        "library/sha256.c",
        "library/sha512.c",
        "include/mbedtls/error.h",
        "include/mbedtls/platform.h",
        "include/mbedtls/platform_util.h",
        "include/mbedtls/sha256.h",
        "include/mbedtls/sha512.h",
    ),
)


def cache_folder() -> Path:
    """Where sources and built programs are kept: $TINYML_CACHE, else the user's cache folder."""
    chosen = os.environ.get("TINYML_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tinyml"


def fetch_crypto(*, with_hashes: bool) -> Path:
    """The folder with monocypher/ and, for boards, mbedtls/; downloads what is not there.

    Args:
        with_hashes: whether SHA-256 and SHA-512 are needed as sources; programs of this machine
            take them from the installed libmbedcrypto.

    Raises:
        TinymlError: there is no network, or a file is not the one that was checked.
    """
    root = cache_folder() / "crypto"
    _provide(root, _MONOCYPHER, _download_monocypher)
    if with_hashes:
        _provide(root, _MBEDTLS, _download_mbedtls)
    return root


def _provide(root: Path, archive: _Archive, download: Callable[[Path], None]) -> None:
    folder = root / archive.folder
    if folder.is_dir():
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        work = Path(scratch)
        download(work)
        path = work / archive.name
        if not path.is_file():
            raise TinymlError(f"{archive.name} was not among what was downloaded")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != archive.sha256:
            raise TinymlError(
                f"{archive.name} has the digest {found}, not the one that was checked",
                "Do not use it; try again on another network.",
            )
        _extract(path, archive, work / "out")
        try:
            (work / "out").rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise


def _extract(path: Path, archive: _Archive, folder: Path) -> None:
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            inner = member.name.partition("/")[2]
            source = tar.extractfile(member) if inner in archive.members else None
            if source is not None:
                target = folder / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())
    missing = [m for m in archive.members if not (folder / m).is_file()]
    if missing:
        raise TinymlError(f"{archive.name} lacks {', '.join(missing)}")


def _download_monocypher(work: Path) -> None:
    requirement = "pymonocypher==4.0.3.4"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-binary", ":all:", "--no-deps", "--dest", str(work), requirement]
    _run(command, f"the source package {requirement}")


def _download_mbedtls(work: Path) -> None:
    """Through apt with lists of its own, so that the system's configuration stays as it is."""
    if shutil.which("apt-get") is None:
        raise TinymlError(
            "the sources of Mbed TLS come through apt-get, which is not here",
            f"Put {', '.join(_MBEDTLS.members)} of release 2.28.3 into "
            f"{cache_folder() / 'crypto' / _MBEDTLS.folder}.",
        )
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    (work / "sources").mkdir()
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if path.is_file():
            name = "main.list" if path.name == "sources.list" else path.name
            (work / "sources" / name).write_text(_as_source_lists(path.read_text()))
    options = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::State::Lists={lists}", "-qq"]
    options += ["-o", f"Dir::Etc::SourceParts={work / 'sources'}", "-o", "APT::Sandbox::User=root"]
    _run(["apt-get", *options, "update"], "Debian's list of source packages")
    _run(
        ["apt-get", *options, "source", "--download-only", "mbedtls=2.28.3-1"],
        "the source package mbedtls",
        cwd=work,
    )


def _as_source_lists(text: str) -> str:
    """The distribution's own entries of an apt configuration, for sources instead of binaries."""
    kept = []
    for paragraph in text.split("\n\n"):
        if "debian" in paragraph and "main" in paragraph:
            paragraph = re.sub(r"(?m)^Types:.*$", "Types: deb-src", paragraph)
            kept.append(re.sub(r"(?m)^deb ", "deb-src ", paragraph))
    return "\n\n".join(kept)


def _run(command: list[str], what: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        raise TinymlError(f"{what} cannot be downloaded: {lines[-1]}", "Check the network.")
