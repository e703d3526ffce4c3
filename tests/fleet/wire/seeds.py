# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of the fuzzers in firmware/agent/fuzz from the golden vectors.

usage: python -m tests.fleet.wire.seeds FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleet.wire import sign1
from fleet.wire.schema import read_schema
from tests.fleet.wire.golden import read_vectors

TOPICS = {"job": 0, "twin_desired": 1, "blob_reply": 2, "rpc_request": 3, "train_job": 4}


def main() -> None:
    """Writes corpus-HARNESS/N below the folder."""
    folder = Path(sys.argv[1])
    numbers = {m.name: i for i, m in enumerate(read_schema().messages)}
    envelope = sign1(b"\xa0", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    (folder / "corpus-cose" / "0").write_bytes(envelope)
    stream = bytearray(b"\x01\x00")
    for index, (_, name, data) in enumerate(read_vectors()):
        (folder / "corpus-codec" / str(index)).write_bytes(bytes([numbers[name]]) + data)
        if name in TOPICS and len(data) < 1024:
            piece = bytes([TOPICS[name], len(data) & 255, len(data) >> 8]) + data
            (folder / "corpus-agent" / str(index)).write_bytes(b"\x01\x00" + piece)
            stream += piece
    (folder / "corpus-agent" / "all").write_bytes(bytes(stream))
    connack = bytes.fromhex("2006000003210014900400010001")
    (folder / "corpus-agent" / "raw").write_bytes(b"\x00\x00" + connack)


if __name__ == "__main__":
    main()
