# SPDX-License-Identifier: Apache-2.0
"""Files named by the SHA-256 of what they hold: never changed, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

from fleet.errors import FleetError, NotFoundError

_DIGEST = re.compile(r"[0-9a-f]{64}")
# Artefacts kept in memory by one process that serves chunks.
HOT = 32


class Blobs:
    """A folder of artefacts.

    Args:
        folder: made when the first one is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hot = lru_cache(maxsize=HOT)(self._read)

    def put(self, data: bytes) -> str:
        """Keeps ``data``; returns its SHA-256 in hex."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.is_file():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o444)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes, checked against their name when first read.

        Raises:
            NotFoundError: there is no such artefact.
            FleetError: the file was damaged.
        """
        return self._hot(digest)

    def _read(self, digest: str) -> bytes:
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"there is no artefact {digest}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise FleetError(
                f"the artefact {path} is damaged", "Restore it from a backup, or publish again."
            )
        return data

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFoundError(f"{digest!r} is no SHA-256 in hex")
        return self.folder / digest[:2] / digest
