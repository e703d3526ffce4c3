# SPDX-License-Identifier: Apache-2.0
"""COSE_Sign1 (RFC 9052 section 4.2) with EdDSA over Ed25519 (RFC 9053 section 2.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleet.wire.codec import WireError

_TAG_SIGN1, _ALG, _KID, _EDDSA = 18, 1, 4, -8
_PROTECTED = cbor2.dumps({_ALG: _EDDSA})
_KID_BYTES = 8


class SignatureError(WireError):
    """An envelope that no trusted key signed."""


def key_id(key: Ed25519PublicKey) -> bytes:
    """Names a key: the first 8 bytes of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(key.public_bytes_raw()).digest()[:_KID_BYTES]


def sign1(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """The envelope: tag 18 over [protected {alg}, {kid}, payload, signature]."""
    signature = key.sign(_to_be_signed(payload))
    unprotected = {_KID: key_id(key.public_key())}
    return cbor2.dumps(cbor2.CBORTag(_TAG_SIGN1, [_PROTECTED, unprotected, payload, signature]))


def verify1(envelope: bytes, keys: Mapping[bytes, Ed25519PublicKey]) -> bytes:
    """The payload of an envelope signed by one of ``keys`` (by key id).

    Raises:
        WireError: no COSE_Sign1 with EdDSA.
        SignatureError: the key is unknown or the signature is not its.
    """
    try:
        tag = cbor2.loads(envelope)
        protected, unprotected, payload, signature = tag.value
        is_envelope = tag.tag == _TAG_SIGN1 and protected == _PROTECTED
        kid = unprotected[_KID]
        key = keys.get(kid)
    except Exception as error:  # any shape of CBOR can come here
        raise WireError(f"no COSE_Sign1: {type(error).__name__}") from None
    if not is_envelope or not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise WireError("no COSE_Sign1 with EdDSA")
    if key is None:
        raise SignatureError(f"no trusted key has the id {bytes(kid).hex()}")
    try:
        key.verify(signature, _to_be_signed(payload))
    except InvalidSignature:
        raise SignatureError("the signature does not verify") from None
    return payload


def _to_be_signed(payload: bytes) -> bytes:
    return cbor2.dumps(["Signature1", _PROTECTED, b"", payload])
