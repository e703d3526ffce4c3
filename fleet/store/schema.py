# SPDX-License-Identifier: Apache-2.0
"""The tables. A change here needs a migration in `migrations.py`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite numbers rows by themselves only in a column that it calls INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")


def _device(primary: bool = True) -> Column[int]:
    return Column(
        "device_id", Id, ForeignKey("device.id"), primary_key=primary, nullable=False,
        autoincrement=False,
    )  # fmt: skip


# What an operator and the device's hello say about a device.
device = Table(
    "device",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("credential", String(16), nullable=False),  # password, certificate
    Column("verifier", Text, nullable=False),  # hash of the password, or serial of the certificate
    Column("tags", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("boots", Integer, nullable=False, default=0),
    Column("last_job", BigInteger, nullable=False, default=0),
    # from the hello; null before the first
    Column("born_id", BigInteger),
    Column("vendor", String(32)),
    Column("hardware", String(32)),
    Column("firmware", String(32)),
    Column("abi", String(16)),  # hex
    Column("opset", String(16)),  # hex
    Column("arena_bytes", BigInteger),
    Column("slot_bytes", BigInteger),
    Column("packet_bytes", BigInteger),
    Column("model_digest", String(64)),
    Column("model_sequence", BigInteger),
    Column("model_state", String(16)),
    Column("passive_digest", String(64)),
    Column("passive_sequence", BigInteger),
    Column("can_rollback", Boolean),
    Column("reset_reason", String(16)),
    Column("resets", BigInteger),
    Column("learning", JSON),
    # Over all tenants: the broker's rules know a device by its name alone.
    UniqueConstraint("name"),
)

# Certificates that were replaced; those of revoked devices are found by their state.
revoked_certificate = Table(
    "revoked_certificate",
    metadata,
    Column("serial", String(64), primary_key=True),
)

sensor = Table(
    "sensor",
    metadata,
    _device(),
    Column("kind", String(32), primary_key=True),
)

# Apart from `device`, which operators lock: this row changes with every message.
presence = Table(
    "presence",
    metadata,
    _device(),
    Column("online", Boolean, nullable=False),
    Column("boot_id", BigInteger),
    Column("last_seen", Float),
    postgresql_with={"fillfactor": 70},
)

twin = Table(
    "twin",
    metadata,
    _device(),
    Column("desired", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("reported", JSON, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
)

group = Table(
    "device_group",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", String(32), nullable=False),
    Column("conditions", JSON),  # of a dynamic group; null for a static one
    UniqueConstraint("tenant", "name"),
)

group_member = Table(
    "group_member",
    metadata,
    Column("group_id", Id, ForeignKey("device_group.id"), primary_key=True),
    _device(),
)

artefact = Table(
    "artefact",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("created_at", Float, nullable=False),
)

release = Table(
    "release",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), ForeignKey("artefact.digest"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("manifest", LargeBinary, nullable=False),  # COSE_Sign1
    Column("authority", LargeBinary, nullable=False),  # key grant by the root, COSE_Sign1
    Column("requirements", JSON, nullable=False),
    Column("report", JSON, nullable=False),  # the compiler's
    Column("created_at", Float, nullable=False),
    Column("created_by", String(64), nullable=False),
    UniqueConstraint("tenant", "name", "version"),
    UniqueConstraint("tenant", "sequence"),
)

# Known faults of artefacts.
advisory = Table(
    "advisory",
    metadata,
    Column("tenant", String(32), primary_key=True),
    Column("identifier", String(64), primary_key=True),
    Column("digest", String(64), ForeignKey("artefact.digest"), primary_key=True),
    Column("summary", Text, nullable=False),
    Column("at", Float, nullable=False),
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("release_id", Id, ForeignKey("release.id"), nullable=False),
    Column("action", String(16), nullable=False),
    Column("origin_id", Id, ForeignKey("rollout.id")),  # what it retries or takes back
    Column("state", String(24), nullable=False),
    Column("seed", String(64), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(64), nullable=False),
    Index("rollout_state", "state"),
)

assignment = Table(
    "assignment",
    metadata,
    Column("rollout_id", Id, ForeignKey("rollout.id"), primary_key=True),
    _device(),
    Column("wave", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("job", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("timeout_at", Float, nullable=False),
    Column("repeat_at", Float, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("closing", Boolean, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("previous", String(64)),  # digest that ran when the job was offered
    Column("updated_at", Float, nullable=False),
    Index("assignment_device", "device_id"),
    Index("assignment_due", "rollout_id", "state", "next_at"),
)

telemetry = Table(
    "telemetry",
    metadata,
    _device(),
    Column("boot_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),  # CBOR as received
    Index("telemetry_received", "received_at"),
    sqlite_with_rowid=False,
)

log = Table(
    "log",
    metadata,
    _device(),
    Column("boot_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", Float, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("text", Text, nullable=False),
    sqlite_with_rowid=False,
)

# (boot_id, seq) of messages that are no telemetry: makes QoS 1 duplicates harmless.
seen = Table(
    "seen",
    metadata,
    _device(),
    Column("boot_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# What could not be processed, kept as it came.
dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Float, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
)

# From ingest to the rollout engine, removed by the transaction that acts on it.
inbox = Table(
    "inbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    _device(primary=False),
    Column("body", JSON, nullable=False),
)

# From any transaction to the broker, removed once the broker has it.
outgoing = Table(
    "outgoing",
    metadata,
    Column("id", Id, primary_key=True),
    Column("topic", String(160), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("expires_at", Float, nullable=False),
)

# From any transaction to the semantic graph, in order.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("tenant", String(32), nullable=False),
    Column("subject", String(128), nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("tenant", String(32), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(160), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("hash", String(64), nullable=False),
)

# One row: the end of the chain. Appending locks it.
audit_head = Table(
    "audit_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("id", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

federated_run = Table(
    "federated_run",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", String(64), nullable=False),
    Column("strategy", String(32), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # running, finished, stopped
    Column("abi", String(16), nullable=False),
    Column("round", Integer, nullable=False),  # the last one that is whole
    Column("weights", LargeBinary, nullable=False),  # float32, after it
    Column("mask", LargeBinary),  # of active weights, after it
    Column("created_at", Float, nullable=False),
    Column("created_by", String(64), nullable=False),
    UniqueConstraint("tenant", "name"),
)

federated_round = Table(
    "federated_round",
    metadata,
    Column("run_id", Id, ForeignKey("federated_run.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("devices", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("refused", JSON, nullable=False),  # device and reason
    Column("bytes_down", BigInteger, nullable=False),
    Column("bytes_up", BigInteger, nullable=False),
    # All that passed through the broker, by its own counters; null where it told nothing.
    Column("broker_received", BigInteger),
    Column("broker_sent", BigInteger),
    Column("digest_in", String(64), nullable=False),
    Column("digest_out", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
)

# Weights and masks that devices of a tenant may pull while they train.
training_artefact = Table(
    "training_artefact",
    metadata,
    Column("tenant", String(32), primary_key=True),
    Column("digest", String(64), ForeignKey("artefact.digest"), primary_key=True),
)

# One row: training jobs are numbered for good, whatever process dies.
training_jobs = Table(
    "training_jobs",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
)

# Which process may act in a role that only one may hold.
lease = Table(
    "lease",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Float, nullable=False),
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Float, nullable=False),
)
