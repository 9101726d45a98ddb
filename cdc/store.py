"""The hub store: what must outlive Redis. Checkpoints of captures, progress of appliers, pauses, counters, the audit trail.

Guards I7: a safe cut is only ever a checkpoint that every applier wanting the channel has durably passed, and it is durable here
before any source is told. SQLite (synchronous=FULL, file mode 0600) on one machine, PostgreSQL where several share it.
Written about once a second per role, never per change.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cdc import store_tables as tables
from cdc.decisions import Decisions
from cdc.hub_database import HubDatabase, StoreRefusedError
from cdc.model import Checkpoint, Order, ProgressRow
from cdc.skip_records import SkipRecords

SCHEMA_VERSION = 1
MOST_CANDIDATES = 200


class Applied(msgspec.Struct, frozen=True):
    """How far a target has durably passed one source, heartbeats and unmapped entries included, and how far its own
    progress table had been written then: a table that later says less was restored from a backup.
    """

    passed: ProgressRow
    written: tuple[Order, int]


class Command(msgspec.Struct, frozen=True):
    """Something an operator asked a role to do at its next turn: retry parked changes, drop one, skip a transaction."""

    id: int
    command: str
    argument: str


_pack = msgspec.msgpack.Encoder().encode
_unpack_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class Store:
    """One deployment's part of the hub store. Every method is one short transaction; raises TransientError."""

    def __init__(self, url: str, deployment: str) -> None:
        self.deployment = deployment
        self._database = HubDatabase(url)
        self._transaction = self._database.transaction
        self._upsert = self._database.upsert
        self.skips = SkipRecords(self._database, deployment)
        self.decisions = Decisions(self._database, deployment)

    def open(self) -> None:
        """Create the tables that are missing. Raises StoreRefusedError where a newer version wrote them."""
        with self._transaction() as connection:
            tables.metadata.create_all(connection, checkfirst=True)
            row = connection.execute(
                sa.select(tables.deployment).where(tables.deployment.c.deployment == self.deployment)
            ).first()
            if row is None:
                self._upsert(
                    connection, tables.deployment, {"deployment": self.deployment, "schema_version": SCHEMA_VERSION}
                )
            elif row.schema_version > SCHEMA_VERSION:
                raise StoreRefusedError(
                    f"store: written by a newer version (schema {row.schema_version}, this one knows {SCHEMA_VERSION}) - run that version"
                )

    def close(self) -> None:
        self._database.close()

    def ping(self) -> None:
        """Raise TransientError where the store does not answer."""
        with self._transaction() as connection:
            connection.execute(sa.select(sa.literal(1)))

    # -- captures: checkpoints and the safe cut

    def save_checkpoint(self, channel: str, checkpoint: Checkpoint, *, is_cut: bool = False) -> None:
        """Keep a candidate for the safe cut. `is_cut`: the first position of all, which nobody has to have applied."""
        with self._transaction() as connection:
            self._upsert(
                connection,
                tables.checkpoints,
                {
                    "deployment": self.deployment,
                    "channel": channel,
                    "order": checkpoint.position.order,
                    "last_order": checkpoint.last_order,
                    "last_end": checkpoint.last_end,
                    "state": _pack(checkpoint),
                    "is_cut": is_cut,
                },
                where=lambda new: sa.or_(~tables.checkpoints.c.is_cut, new.is_cut),  # a cut stays one
            )

    def safe_cut(self, channel: str) -> Checkpoint | None:
        """The checkpoint from which a capture starts again when Redis is lost; None: this channel was never started."""
        mine = (tables.checkpoints.c.deployment == self.deployment) & (tables.checkpoints.c.channel == channel)
        query = (
            sa.select(tables.checkpoints.c.state)
            .where(mine & tables.checkpoints.c.is_cut)
            .order_by(tables.checkpoints.c.order.desc())
            .limit(1)
        )
        with self._transaction() as connection:
            state = connection.execute(query).scalar()
        return None if state is None else _unpack_checkpoint(state)

    def advance_cut(self, channel: str, wanted_by: Iterable[str]) -> Checkpoint | None:
        """Move the safe cut to the last checkpoint that every target in `wanted_by` has durably applied; answer it."""
        with self._transaction() as connection:
            low = self._least_applied(connection, channel, list(wanted_by))
            columns = tables.checkpoints.c
            mine = (columns.deployment == self.deployment) & (columns.channel == channel)
            passed: sa.ColumnElement[bool] = sa.true()
            if low is not None:
                passed = (columns.last_order < low[0]) | ((columns.last_order == low[0]) & (columns.last_end <= low[1]))
            query = (
                sa.select(tables.checkpoints)
                .where(mine & (columns.is_cut | passed))
                .order_by(columns.order.desc())
                .limit(1)
            )
            row = connection.execute(query).first()
            if row is None:
                return None
            if not row.is_cut:
                connection.execute(
                    sa.update(tables.checkpoints).where(mine & (columns.order == row.order)).values(is_cut=True)
                )
            connection.execute(sa.delete(tables.checkpoints).where(mine & (columns.order < row.order)))
            self._thin(connection, channel)
            return _unpack_checkpoint(row.state)

    def _thin(self, connection: sa.Connection, channel: str) -> None:
        """While a target is away, candidates gather: of many, every second one is enough."""
        columns = tables.checkpoints.c
        mine = (columns.deployment == self.deployment) & (columns.channel == channel) & ~columns.is_cut
        orders = list(connection.execute(sa.select(columns.order).where(mine).order_by(columns.order)).scalars())
        if len(orders) > MOST_CANDIDATES:
            connection.execute(sa.delete(tables.checkpoints).where(mine & columns.order.in_(orders[1:-1:2])))

    def least_applied(self, channel: str, targets: Iterable[str]) -> tuple[Order, int] | None:
        """The place in a channel's stream that every one of these targets has durably passed; None: no target is named."""
        with self._transaction() as connection:
            return self._least_applied(connection, channel, list(targets))

    def drop_checkpoints_after(self, channel: str, order: Order) -> None:
        """Forget candidates beyond a place that capture goes back to: what they were taken after is to be published again."""
        mine = (tables.checkpoints.c.deployment == self.deployment) & (tables.checkpoints.c.channel == channel)
        with self._transaction() as connection:
            connection.execute(
                sa.delete(tables.checkpoints).where(
                    mine & (tables.checkpoints.c.order > order) & ~tables.checkpoints.c.is_cut
                )
            )

    def _least_applied(self, connection: sa.Connection, channel: str, targets: list[str]) -> tuple[Order, int] | None:
        """None: no target wants this channel."""
        if not targets:
            return None
        query = sa.select(tables.applied.c.target, tables.applied.c.order, tables.applied.c.row_end).where(
            (tables.applied.c.deployment == self.deployment)
            & (tables.applied.c.source == channel)
            & tables.applied.c.target.in_(targets)
        )
        found = {row.target: (row.order, row.row_end) for row in connection.execute(query)}
        return min((found.get(target, (0, 0)) for target in targets), default=(0, 0))

    # -- appliers: durable progress

    def save_applied(self, target: str, rows: Iterable[Applied]) -> None:
        with self._transaction() as connection:
            for applied in rows:
                row = applied.passed
                self._upsert(
                    connection,
                    tables.applied,
                    {
                        "deployment": self.deployment,
                        "target": target,
                        "source": row.source,
                        "order": row.order,
                        "row_end": row.end,
                        "complete": row.complete,
                        "hlc": row.hlc,
                        "written_order": applied.written[0],
                        "written_end": applied.written[1],
                        "at": time.time(),
                    },
                    # Progress never goes back, whoever saves late: an instance that was frozen and overtaken.
                    where=lambda new: (
                        (tables.applied.c.order < new.order)
                        | ((tables.applied.c.order == new.order) & (tables.applied.c.row_end <= new.row_end))
                    ),
                )

    def laggards(self, source: str, targets: Iterable[str], newest: tuple[Order, int]) -> dict[str, float]:
        """Which of these targets have not passed `newest` of a source, and when (epoch seconds) each was last seen to move.

        A target that never moved is left out: it has not been started yet, and `max_behind` is not about that.
        """
        query = sa.select(tables.applied).where(
            (tables.applied.c.deployment == self.deployment)
            & (tables.applied.c.source == source)
            & tables.applied.c.target.in_(list(targets))
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return {row.target: row.at for row in rows if (row.order, row.row_end) < newest}

    def detach(self, target: str, reason: str) -> None:
        """Take a target out of every cut: it is too far behind, and comes back only by being made equal anew."""
        with self._transaction() as connection:
            values = {"deployment": self.deployment, "target": target, "since": time.time(), "reason": reason}
            self._upsert(connection, tables.detached, values)

    def detached(self) -> dict[str, str]:
        """The detached targets, with the reason."""
        query = sa.select(tables.detached.c.target, tables.detached.c.reason).where(
            tables.detached.c.deployment == self.deployment
        )
        with self._transaction() as connection:
            return {row.target: row.reason for row in connection.execute(query)}

    def applied(self, target: str) -> dict[str, Applied]:
        query = sa.select(tables.applied).where(
            (tables.applied.c.deployment == self.deployment) & (tables.applied.c.target == target)
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return {
            row.source: Applied(
                ProgressRow(row.source, row.order, row.row_end, row.complete, row.hlc),
                (row.written_order, row.written_end),
            )
            for row in rows
        }

    # -- parked changes of channels with bookkeeping `none`

    def park(self, target: str, rows: Mapping[str, bytes]) -> None:
        with self._transaction() as connection:
            for ident, packed in rows.items():
                self._upsert(
                    connection,
                    tables.parked,
                    {"deployment": self.deployment, "target": target, "id": ident, "row": packed},
                )

    def unpark(self, target: str, ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            mine = (tables.parked.c.deployment == self.deployment) & (tables.parked.c.target == target)
            connection.execute(sa.delete(tables.parked).where(mine & tables.parked.c.id.in_(ids)))

    def parked(self, target: str) -> dict[str, bytes]:
        query = sa.select(tables.parked.c.id, tables.parked.c.row).where(
            (tables.parked.c.deployment == self.deployment) & (tables.parked.c.target == target)
        )
        with self._transaction() as connection:
            return {row.id: row.row for row in connection.execute(query)}

    # -- what an operator says

    def paused(self) -> set[tuple[str, str]]:
        query = sa.select(tables.paused.c.channel, tables.paused.c.role).where(
            tables.paused.c.deployment == self.deployment
        )
        with self._transaction() as connection:
            return {(row.channel, row.role) for row in connection.execute(query)}

    def set_paused(self, channel: str, role: str, paused: bool) -> None:
        with self._transaction() as connection:
            if paused:
                self._upsert(
                    connection,
                    tables.paused,
                    {"deployment": self.deployment, "channel": channel, "role": role, "since": time.time()},
                )
            else:
                mine = (
                    (tables.paused.c.deployment == self.deployment)
                    & (tables.paused.c.channel == channel)
                    & (tables.paused.c.role == role)
                )
                connection.execute(sa.delete(tables.paused).where(mine))

    def command(self, channel: str, role: str, command: str, argument: str) -> None:
        with self._transaction() as connection:
            values = {"channel": channel, "role": role, "command": command, "argument": argument, "at": time.time()}
            connection.execute(sa.insert(tables.commands).values(deployment=self.deployment, **values))

    def commands(self, channel: str, role: str) -> list[Command]:
        mine = (
            (tables.commands.c.deployment == self.deployment)
            & (tables.commands.c.channel == channel)
            & (tables.commands.c.role == role)
        )
        query = sa.select(tables.commands).where(mine).order_by(tables.commands.c.id)
        with self._transaction() as connection:
            return [Command(row.id, row.command, row.argument) for row in connection.execute(query)]

    def command_done(self, command: Command) -> None:
        with self._transaction() as connection:
            connection.execute(sa.delete(tables.commands).where(tables.commands.c.id == command.id))

    def audit(self, who: str, what: str, subject: str, before: str = "", after: str = "") -> None:
        with self._transaction() as connection:
            connection.execute(tables.audit_line(self.deployment, who, what, subject, before, after))

    def audit_trail(self, limit: int = 100) -> list[dict[str, object]]:
        query = (
            sa.select(tables.audit)
            .where(tables.audit.c.deployment == self.deployment)
            .order_by(tables.audit.c.id.desc())
            .limit(limit)
        )
        with self._transaction() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it

    # -- counters that survive restarts

    def counters(self, role: str) -> dict[str, int]:
        query = sa.select(tables.counters.c.name, tables.counters.c.value).where(
            (tables.counters.c.deployment == self.deployment) & (tables.counters.c.role == role)
        )
        with self._transaction() as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def save_counters(self, role: str, values: Mapping[str, int]) -> None:
        with self._transaction() as connection:
            for name, value in values.items():
                self._upsert(
                    connection,
                    tables.counters,
                    {"deployment": self.deployment, "role": role, "name": name, "value": value},
                )

    def forget_channel(self, channel: str) -> None:
        """Remove everything of a channel: `datong remove`."""
        with self._transaction() as connection:
            for table, column in (
                (tables.checkpoints, tables.checkpoints.c.channel),
                (tables.applied, tables.applied.c.target),
                (tables.applied, tables.applied.c.source),
                (tables.paused, tables.paused.c.channel),
                (tables.detached, tables.detached.c.target),
                (tables.commands, tables.commands.c.channel),
                (tables.parked, tables.parked.c.target),
                (tables.skips, tables.skips.c.target),
                (tables.skips, tables.skips.c.source),
            ):
                connection.execute(
                    sa.delete(table).where((table.c.deployment == self.deployment) & (column == channel))
                )
            self.decisions.forget_channel(connection, channel)
            roles = [f"capture.{channel}", f"apply.{channel}"]
            connection.execute(
                sa.delete(tables.counters).where(
                    (tables.counters.c.deployment == self.deployment) & tables.counters.c.role.in_(roles)
                )
            )
