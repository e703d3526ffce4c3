# SPDX-License-Identifier: Apache-2.0
"""The protocol between devices and server: messages, topics, signatures."""

from fleet.wire.codec import Message, WireError, decode
from fleet.wire.cose import SignatureError, key_id, sign1, verify1

__all__ = ["Message", "SignatureError", "WireError", "decode", "key_id", "sign1", "verify1"]
