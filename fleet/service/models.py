# SPDX-License-Identifier: Apache-2.0
"""Releases of models: publish, list, show."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from fleet.artifacts.release import Draft, sign
from fleet.domain.names import check_version
from fleet.errors import ConflictError, InvalidError, NotFoundError
from fleet.home import Home
from fleet.keys import load_signer
from fleet.store import audit, queues, releases, schema
from fleet.store.audit import Entry
from fleet.store.upsert import upsert


def publish(home: Home, tenant: str, draft: Draft, version: str, actor: str) -> dict[str, Any]:
    """Signs a release and keeps it for good.

    Args:
        draft: from `fleet.artifacts.release.from_export`.
        version: new for this model; the next whole number if empty.

    Raises:
        ConflictError: the version exists.
        FleetError: the release key cannot be used.
    """
    now = time.time()
    signer = load_signer(home.keys, now)
    digest = home.blobs.put(draft.artefact)
    with home.store.write() as connection:
        sequence = releases.next_sequence(connection, tenant)
        version = check_version(version) if version else str(sequence)
        if releases.find(connection, tenant, draft.name, version) is not None:
            raise ConflictError(
                f"{draft.name} {version} is published already, and a release never changes",
                "Publish it with another --version.",
            )
        envelope = sign(draft, signer, sequence=sequence, tenant=tenant, vendor=home.config.vendor)
        releases.add_artefact(connection, digest, len(draft.artefact), "model", now)
        number = releases.add(
            connection,
            tenant=tenant,
            name=draft.name,
            version=version,
            sequence=sequence,
            digest=digest,
            size=len(draft.artefact),
            manifest=envelope,
            authority=signer.grant,
            requirements=draft.requirements,
            report=draft.report,
            created_at=now,
            created_by=actor,
        )
        detail = {"name": draft.name, "version": version, "sequence": sequence, "digest": digest}
        audit.append(
            connection,
            [Entry("release.published", f"release/{number}", actor, tenant, detail)],
            now,
        )
        queues.put_outbox(connection, [queues.Change("release", tenant, str(number))])
        return summary(releases.get(connection, number))


def listed(home: Home, tenant: str) -> list[dict[str, Any]]:
    """All releases, newest first."""
    with home.store.read() as connection:
        return [summary(row) for row in releases.all_of(connection, tenant)]


def find(connection: Connection, tenant: str, text: str) -> RowMapping:
    """A release by NAME (its newest version) or NAME@VERSION.

    Raises:
        NotFoundError: there is none.
    """
    name, _, version = text.partition("@")
    row = releases.find(connection, tenant, name, version)
    if row is None:
        raise NotFoundError(f"there is no release {text}", "fleet model list shows them.")
    return row


def shown(home: Home, tenant: str, text: str) -> dict[str, Any]:
    """One release with its requirements and the compiler's report."""
    with home.store.read() as connection:
        row = find(connection, tenant, text)
        return {**summary(row), "requirements": row["requirements"], "report": row["report"]}


def summary(row: RowMapping) -> dict[str, Any]:
    """The columns people list."""
    return {
        "release": row["id"],
        "name": row["name"],
        "version": row["version"],
        "sequence": row["sequence"],
        "digest": row["digest"],
        "size": row["size"],
        "classes": row["requirements"]["classes"],
        "created_at": row["created_at"],
        "created_by": row["created_by"],
    }


def flag(
    home: Home, tenant: str, text: str, identifier: str, words: str, actor: str
) -> dict[str, Any]:
    """Marks the artefact of a release as faulty, under the identifier of an advisory.

    Raises:
        NotFoundError: there is no such release.
        InvalidError: the identifier is empty or too long.
    """
    if not 1 <= len(identifier) <= 64:
        raise InvalidError("the identifier of an advisory has 1 to 64 characters")
    with home.store.write() as connection:
        row = find(connection, tenant, text)
        now = time.time()
        advisory = {
            "tenant": tenant,
            "identifier": identifier,
            "digest": row["digest"],
            "summary": words,
            "at": now,
        }
        upsert(connection, schema.advisory, [advisory], ("summary", "at"))
        detail = {"advisory": identifier, "summary": words, "digest": row["digest"]}
        subject = f"release/{row['id']}"
        audit.append(connection, [Entry("release.flagged", subject, actor, tenant, detail)], now)
        queues.put_outbox(connection, [queues.Change("release", tenant, str(row["id"]))])
    return advisory
