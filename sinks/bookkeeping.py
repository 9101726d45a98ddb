"""The tables of ours in a target's database, and the apply record's text form: one place for sinks and readers. Guards I2.

`datong_progress` has a line per (deployment, target, source) and a lease line whose source is empty. Every apply transaction
moves its lines by compare-and-set as its first statements, so the record reaches capture inside the very transaction that it marks.
`datong_parked` holds changes that wait. PostgreSQL: both in schema `public`; MySQL, MariaDB: in the channel's own database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import msgspec

from sinks.contract import Fenced, ParkedRow, Progress, ProgressMove, TransactionHeader

PROGRESS_TABLE: Final = "datong_progress"
PARKED_TABLE: Final = "datong_parked"
LINKS_TABLE: Final = (
    "datong_identity"  # only where people are written: a new row's key, in the transaction that made it
)
LEASE_SOURCE: Final = ""
LEASE_TOKEN: Final = "lease"  # noqa: S105 - of a transaction that only raises the epoch: no change is in it, no guard record for it
MESSAGE_PREFIX: Final = "datong"  # of PostgreSQL's logical messages and MariaDB's comments, with bookkeeping `none`

PROGRESS_COLUMNS: Final = (
    "deployment", "target", "source", "position", "row_end", "complete", "hlc", "epoch", "token", "row_count",
)  # fmt: skip
PARKED_COLUMNS: Final = (
    "deployment", "target", "id", "source", "position", "row_index", "mapping", "entity", "key_text", "reason", "error",
    "since", "change_data",
)  # fmt: skip

CREATE_MYSQL: Final = (
    f"""CREATE TABLE IF NOT EXISTS `{PROGRESS_TABLE}` (
  `deployment` VARCHAR(64) NOT NULL, `target` VARCHAR(64) NOT NULL, `source` VARCHAR(64) NOT NULL,
  `position` BIGINT NOT NULL, `row_end` BIGINT NOT NULL, `complete` SMALLINT NOT NULL, `hlc` BIGINT NOT NULL,
  `epoch` BIGINT NOT NULL, `token` VARCHAR(64) NOT NULL, `row_count` BIGINT NOT NULL,
  PRIMARY KEY (`deployment`, `target`, `source`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    f"""CREATE TABLE IF NOT EXISTS `{PARKED_TABLE}` (
  `deployment` VARCHAR(64) NOT NULL, `target` VARCHAR(64) NOT NULL, `id` VARCHAR(128) NOT NULL,
  `source` VARCHAR(64) NOT NULL, `position` BIGINT NOT NULL, `row_index` BIGINT NOT NULL,
  `mapping` VARCHAR(255) NOT NULL, `entity` VARCHAR(255) NOT NULL, `key_text` TEXT NOT NULL,
  `reason` VARCHAR(64) NOT NULL, `error` TEXT NOT NULL, `since` BIGINT NOT NULL, `change_data` LONGBLOB NOT NULL,
  PRIMARY KEY (`deployment`, `target`, `id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
)
CREATE_POSTGRESQL: Final = (
    f"""CREATE TABLE IF NOT EXISTS public.{PROGRESS_TABLE} (
  deployment varchar(64) NOT NULL, target varchar(64) NOT NULL, source varchar(64) NOT NULL,
  position bigint NOT NULL, row_end bigint NOT NULL, complete smallint NOT NULL, hlc bigint NOT NULL,
  epoch bigint NOT NULL, token varchar(64) NOT NULL, row_count bigint NOT NULL,
  PRIMARY KEY (deployment, target, source))""",
    f"""CREATE TABLE IF NOT EXISTS public.{PARKED_TABLE} (
  deployment varchar(64) NOT NULL, target varchar(64) NOT NULL, id varchar(128) NOT NULL,
  source varchar(64) NOT NULL, position bigint NOT NULL, row_index bigint NOT NULL,
  mapping varchar(255) NOT NULL, entity varchar(255) NOT NULL, key_text text NOT NULL,
  reason varchar(64) NOT NULL, error text NOT NULL, since bigint NOT NULL, change_data bytea NOT NULL,
  PRIMARY KEY (deployment, target, id))""",
    # A DELETE in the log then carries entity and key_text, which capture needs.
    f"ALTER TABLE public.{PARKED_TABLE} REPLICA IDENTITY FULL",
)

CREATE_LINKS_MYSQL: Final = f"""CREATE TABLE IF NOT EXISTS `{LINKS_TABLE}` (
  `deployment` VARCHAR(64) NOT NULL, `target` VARCHAR(64) NOT NULL, `person` BIGINT NOT NULL,
  `entity` VARCHAR(64) NOT NULL, `local_key` TEXT NOT NULL,
  PRIMARY KEY (`deployment`, `target`, `person`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"""
CREATE_LINKS_POSTGRESQL: Final = f"""CREATE TABLE IF NOT EXISTS public.{LINKS_TABLE} (
  deployment varchar(64) NOT NULL, target varchar(64) NOT NULL, person bigint NOT NULL,
  entity varchar(64) NOT NULL, local_key text NOT NULL,
  PRIMARY KEY (deployment, target, person))"""


MOST_ERROR_CHARACTERS: Final = 16_000  # MySQL's TEXT holds four times as many bytes


def error_text(row: ParkedRow) -> str:
    """The column `error` of a parked change: the error, and a line for every unique key that another row holds."""
    return "\n".join((row.error, *row.taken))[:MOST_ERROR_CHARACTERS]


def with_error_text(row: ParkedRow) -> ParkedRow:
    """A row as it was read, whose `error` is what `error_text` wrote."""
    error, *taken = row.error.split("\n")
    return replace(row, error=error, taken=tuple(taken)) if taken else row


def in_lock_order(moves: Iterable[ProgressMove]) -> list[ProgressMove]:
    """First lines come first: they lock the lease line, as taking over does first. The same order, no deadlock."""
    return sorted(moves, key=lambda move: move.known is not None)


def fenced(target: str) -> Fenced:
    """What a line that did not match says."""
    return Fenced(f"progress in {target}: a line is not as it was known; another writer, or an older COMMIT")


class RecordLine(msgspec.Struct, array_like=True):
    source: str
    now: Progress


class RecordText(msgspec.Struct, array_like=True):
    deployment: str
    target: str
    epoch: int
    token: str
    rows: int
    lines: tuple[RecordLine, ...]


_DECODER = msgspec.json.Decoder(RecordText)


def record_text(header: TransactionHeader) -> str:
    """The apply record as one line of JSON without `*/`: for a logical message or a comment."""
    lines = tuple(RecordLine(move.source, move.now) for move in header.moves)
    record = RecordText(header.deployment, header.target, header.epoch, header.token, header.rows, lines)
    return msgspec.json.encode(record).decode().replace("/", "\\/")


def read_record_text(text: str | bytes) -> RecordText:
    """Read `record_text` back. Raises msgspec.DecodeError: whoever wrote that message, it was not us."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
