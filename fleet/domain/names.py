# SPDX-License-Identifier: Apache-2.0
"""Identifiers of tenants, devices, classes, groups and releases."""

from __future__ import annotations

import re

from fleet.errors import InvalidError

_ID = re.compile(r"[a-z0-9-]{1,32}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def check_id(kind: str, name: str) -> str:
    """``name``, if it may become one level of a topic.

    Raises:
        InvalidError: it is not 1 to 32 of a-z, 0-9 and hyphen.
    """
    if not _ID.fullmatch(name):
        raise InvalidError(
            f"{name!r} is no {kind}: it may hold only a-z, 0-9 and hyphens, 1 to 32 of them"
        )
    return name


def check_version(text: str) -> str:
    """``text``, if it may be the version of a release.

    Raises:
        InvalidError: it is empty, longer than 64, or has unusual characters.
    """
    if not _VERSION.fullmatch(text):
        raise InvalidError(
            f"{text!r} is no version: it may hold letters, digits and ._+-, 1 to 64 of them"
        )
    return text
