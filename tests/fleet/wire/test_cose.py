# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.wire import SignatureError, WireError, key_id, sign1, verify1

# RFC 8032 section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
TRUSTED = {key_id(KEY.public_key()): KEY.public_key()}


def test_what_is_signed_verifies():
    assert verify1(sign1(b"manifest", KEY), TRUSTED) == b"manifest"


def test_the_envelope_is_a_cose_sign1_of_91_bytes_more():
    envelope = sign1(b"manifest", KEY)
    tag = cbor2.loads(envelope)
    assert tag.tag == 18
    protected, unprotected, payload, signature = tag.value
    assert cbor2.loads(protected) == {1: -8}
    assert unprotected == {4: key_id(KEY.public_key())}
    assert payload == b"manifest" and len(signature) == 64
    KEY.public_key().verify(signature, cbor2.dumps(["Signature1", protected, b"", payload]))


def test_another_key_is_unknown():
    other = Ed25519PrivateKey.generate()
    with pytest.raises(SignatureError, match="no trusted key"):
        verify1(sign1(b"manifest", other), TRUSTED)


def test_a_known_id_with_another_key_does_not_verify():
    other = Ed25519PrivateKey.generate()
    with pytest.raises(SignatureError, match="does not verify"):
        verify1(sign1(b"x", KEY), {key_id(KEY.public_key()): other.public_key()})


def test_every_flipped_bit_is_refused_or_outside_what_is_signed():
    good = sign1(b"manifest", KEY)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            verify1(bytes(bad), TRUSTED)
        except WireError:
            continue
        pytest.fail(f"bit {bit} can be flipped")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_random_bytes_are_no_envelope(data: bytes):
    with pytest.raises(WireError):
        verify1(data, TRUSTED)
