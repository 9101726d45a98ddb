"""The tables of the hub store. What they are for, `cdc.store` says; those of identities are in `cdc.identity.tables`."""

from __future__ import annotations

import time

import sqlalchemy as sa

metadata = sa.MetaData()
deployment = sa.Table(
    "datong_deployment",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
)
checkpoints = sa.Table(
    "datong_checkpoint",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("order", sa.BigInteger, primary_key=True),
    sa.Column("last_order", sa.BigInteger, nullable=False),
    sa.Column("last_end", sa.BigInteger, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("is_cut", sa.Boolean, nullable=False),
)
applied = sa.Table(
    "datong_applied",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("order", sa.BigInteger, nullable=False),
    sa.Column("row_end", sa.BigInteger, nullable=False),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("hlc", sa.BigInteger, nullable=False),
    sa.Column("written_order", sa.BigInteger, nullable=False),
    sa.Column("written_end", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
decisions = sa.Table(
    "datong_decision",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
detached = sa.Table(
    "datong_detached",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
paused = sa.Table(
    "datong_paused",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)
counters = sa.Table(
    "datong_counter",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(80), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
parked = sa.Table(
    "datong_store_parked",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("row", sa.LargeBinary, nullable=False),
)
commands = sa.Table(
    "datong_command",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("command", sa.String(32), nullable=False),
    sa.Column("argument", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
skips = sa.Table(
    "datong_skip",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("order", sa.BigInteger, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("who", sa.String(128), nullable=False),
    sa.Column("requested_at", sa.Float, nullable=False),
    sa.Column("done_at", sa.Float, nullable=False),
    sa.Column("transaction", sa.Text, nullable=False),
    sa.Column("mappings", sa.Text, nullable=False),
    sa.Column("changes", sa.BigInteger, nullable=False),
    sa.Column("row_end", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)
audit = sa.Table(
    "datong_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("who", sa.String(128), nullable=False),
    sa.Column("what", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
)


def audit_line(deployment: str, who: str, what: str, subject: str, before: str, after: str) -> sa.Insert:
    """A line of the audit trail, of now; for whoever keeps it in one transaction with what it tells of."""
    values = {"at": time.time(), "who": who, "what": what, "subject": subject, "before": before, "after": after}
    return sa.insert(audit).values(deployment=deployment, **values)
