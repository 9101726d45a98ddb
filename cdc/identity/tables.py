"""The tables of identities in the hub store. Rows and identifiers are named by 16-byte digests that hold the deployment's name.

`datong_person.merged_into`: the person that this one turned out to be. `joined`: no channel had a row for both, so the rows are the
other's as well; else they go on under their own OneID, and only identifiers and references are the other's.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

SCHEMA_VERSION: Final = 2
IDENTITY_LOCK: Final = 0x6F6E656964  # of PostgreSQL's advisory locks: "oneid"

# What tables of an older version lack: (table, column, the statement that adds it).
ADDED: Final = (
    ("datong_person", "told", "ALTER TABLE datong_person ADD COLUMN told TEXT NOT NULL DEFAULT ''"),
    ("datong_identity_link", "yields", "ALTER TABLE datong_identity_link ADD COLUMN yields TEXT NOT NULL DEFAULT ''"),
)

metadata = sa.MetaData()
state = sa.Table(
    "datong_identity_state",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("incarnation", sa.String(32), nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("key_fingerprint", sa.String(32), nullable=False),
    sa.Column("last_person", sa.BigInteger, nullable=False),
)
people = sa.Table(
    "datong_person",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("entity", sa.String(64), nullable=False),
    sa.Column("merged_into", sa.BigInteger, nullable=True),
    sa.Column("joined", sa.Boolean, nullable=False),
    sa.Column("told", sa.Text, nullable=False, server_default=""),  # names of fields, by spaces
    sa.Index("datong_person_merged", "deployment", "merged_into"),
    sqlite_with_rowid=False,
)
identifiers = sa.Table(
    "datong_identifier",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("person", sa.BigInteger, nullable=False),
    sa.Column("field", sa.String(64), nullable=False),
    sa.Column("scope", sa.String(255), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("blocked", sa.Boolean, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Index("datong_identifier_person", "deployment", "person"),
    sqlite_with_rowid=False,
)
links = sa.Table(
    "datong_identity_link",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("person", sa.BigInteger, nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("at_order", sa.BigInteger, nullable=False),
    sa.Column("at_row", sa.BigInteger, nullable=False),
    sa.Column("claims", sa.LargeBinary, nullable=False),
    sa.Column("yields", sa.Text, nullable=False, server_default=""),  # names of fields, by spaces
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Index("datong_identity_link_person", "deployment", "person"),
    # One winner: at most one living row of a person in a channel, whoever writes.
    sa.Index("datong_identity_link_one", "deployment", "person", "channel", unique=True,
             sqlite_where=sa.text("live"), postgresql_where=sa.text("live")),
    sqlite_with_rowid=False,
)  # fmt: skip
questions = sa.Table(
    "datong_identity_question",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("entity", sa.String(64), nullable=False),
    sa.Column("one", sa.BigInteger, nullable=False),
    sa.Column("other", sa.BigInteger, nullable=False),
    sa.Column("identifier", sa.LargeBinary, nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("decision", sa.String(32), nullable=True),
    sa.UniqueConstraint("deployment", "one", "other", "identifier"),
)
events = sa.Table(
    "datong_identity_event",
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),  # merge, split, undo, forget
    sa.Column("entity", sa.String(64), nullable=False),
    sa.Column("kept", sa.BigInteger, nullable=False),
    sa.Column("gone", sa.BigInteger, nullable=False),
    sa.Column("who", sa.String(128), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("detail", sa.LargeBinary, nullable=False),  # what an undo puts back
    sa.Column("undone_by", sa.BigInteger, nullable=True),
    sa.Column("undoes", sa.BigInteger, nullable=True),
)
moves = sa.Table(
    "datong_identity_move",  # references that a merge moved in a channel: what its undo moves back
    metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("mapping", sa.String(255), primary_key=True),
    sa.Column("column", sa.String(128), primary_key=True),
    sa.Column("local_key", sa.LargeBinary, primary_key=True),
)
pasts = sa.Table(
    "datong_identity_past",  # whose a row was before its key was used again: what is read again after a crash is about them
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("until_order", sa.BigInteger, primary_key=True),
    sa.Column("until_row", sa.BigInteger, primary_key=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("person", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
tombstones = sa.Table(
    "datong_identity_tombstone",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),  # of a row, or of an identifier
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("at_order", sa.BigInteger, nullable=False),  # what this channel committed up to there is forgotten
    sqlite_with_rowid=False,
)
