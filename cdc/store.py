"""The hub store: what must outlive Redis. Checkpoints of captures, progress of appliers, pauses, counters, the audit trail.

Guards I7: a safe cut is only ever a checkpoint that every applier wanting the channel has durably passed, and it is durable here
before any source is told. SQLite (synchronous=FULL, file mode 0600) on one machine, PostgreSQL where several share it.
Written about once a second per role, never per change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cdc.errors import DatongError, TransientError
from cdc.model import Checkpoint, Order, ProgressRow

SCHEMA_VERSION = 1
MOST_CANDIDATES = 200

_metadata = sa.MetaData()
_deployment = sa.Table(
    "datong_deployment",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
)
_checkpoints = sa.Table(
    "datong_checkpoint",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("order", sa.BigInteger, primary_key=True),
    sa.Column("last_order", sa.BigInteger, nullable=False),
    sa.Column("last_end", sa.BigInteger, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("is_cut", sa.Boolean, nullable=False),
)
_applied = sa.Table(
    "datong_applied",
    _metadata,
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
_decisions = sa.Table(
    "datong_decision",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_detached = sa.Table(
    "datong_detached",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
_paused = sa.Table(
    "datong_paused",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)
_counters = sa.Table(
    "datong_counter",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(80), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
_parked = sa.Table(
    "datong_store_parked",
    _metadata,
    sa.Column("deployment", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("row", sa.LargeBinary, nullable=False),
)
_commands = sa.Table(
    "datong_command",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("command", sa.String(32), nullable=False),
    sa.Column("argument", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
_audit = sa.Table(
    "datong_audit",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(64), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("who", sa.String(128), nullable=False),
    sa.Column("what", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
)


class StoreRefusedError(DatongError):
    """The hub store cannot be used as it is: not writable, written by a newer version, not a database."""


class Applied(msgspec.Struct, frozen=True):
    """How far a target has durably passed one source, heartbeats and unmapped entries included, and how far its own
    progress table had been written then: a table that later says less was restored from a backup.
    """

    passed: ProgressRow
    written: tuple[Order, int]


class Command(msgspec.Struct, frozen=True):
    """Something an operator asked a role to do at its next turn: retry parked changes, drop one."""

    id: int
    command: str
    argument: str


_pack = msgspec.msgpack.Encoder().encode
_unpack_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class Store:
    """One deployment's part of the hub store. Every method is one short transaction; raises TransientError."""

    def __init__(self, url: str, deployment: str) -> None:
        self.deployment = deployment
        self._url = sa.make_url(url)
        connect_args: dict[str, Any] = {}
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        if self._is_sqlite:
            connect_args["timeout"] = 10
            self._create_file()
        else:
            self._url = self._url.set(drivername="postgresql+psycopg")
            connect_args |= {"connect_timeout": 5, "application_name": "datong", "tcp_user_timeout": 10_000}
        self._engine = sa.create_engine(
            self._url, connect_args=connect_args, pool_pre_ping=not self._is_sqlite, pool_size=1
        )
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _pin_sqlite)

    def _create_file(self) -> None:
        path = self._url.database
        if not path:
            raise StoreRefusedError("store.url: sqlite needs a file, such as sqlite:///var/datong.db")
        try:
            file = Path(path).resolve()
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.chmod(0o600)
        except OSError as error:
            raise StoreRefusedError(
                f"store.url: cannot write {path}: {error.strerror} - give the service a folder of its own"
            ) from error

    def open(self) -> None:
        """Create the tables that are missing. Raises StoreRefusedError where a newer version wrote them."""
        with self._transaction() as connection:
            _metadata.create_all(connection, checkfirst=True)
            row = connection.execute(sa.select(_deployment).where(_deployment.c.deployment == self.deployment)).first()
            if row is None:
                self._upsert(connection, _deployment, {"deployment": self.deployment, "schema_version": SCHEMA_VERSION})
            elif row.schema_version > SCHEMA_VERSION:
                raise StoreRefusedError(
                    f"store: written by a newer version (schema {row.schema_version}, this one knows {SCHEMA_VERSION}) - run that version"
                )

    def close(self) -> None:
        self._engine.dispose()

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
                _checkpoints,
                {
                    "deployment": self.deployment,
                    "channel": channel,
                    "order": checkpoint.position.order,
                    "last_order": checkpoint.last_order,
                    "last_end": checkpoint.last_end,
                    "state": _pack(checkpoint),
                    "is_cut": is_cut,
                },
                where=lambda new: sa.or_(~_checkpoints.c.is_cut, new.is_cut),  # a cut stays one
            )

    def safe_cut(self, channel: str) -> Checkpoint | None:
        """The checkpoint from which a capture starts again when Redis is lost; None: this channel was never started."""
        mine = (_checkpoints.c.deployment == self.deployment) & (_checkpoints.c.channel == channel)
        query = (
            sa.select(_checkpoints.c.state)
            .where(mine & _checkpoints.c.is_cut)
            .order_by(_checkpoints.c.order.desc())
            .limit(1)
        )
        with self._transaction() as connection:
            state = connection.execute(query).scalar()
        return None if state is None else _unpack_checkpoint(state)

    def advance_cut(self, channel: str, wanted_by: Iterable[str]) -> Checkpoint | None:
        """Move the safe cut to the last checkpoint that every target in `wanted_by` has durably applied; answer it."""
        with self._transaction() as connection:
            low = self._least_applied(connection, channel, list(wanted_by))
            columns = _checkpoints.c
            mine = (columns.deployment == self.deployment) & (columns.channel == channel)
            passed: sa.ColumnElement[bool] = sa.true()
            if low is not None:
                passed = (columns.last_order < low[0]) | ((columns.last_order == low[0]) & (columns.last_end <= low[1]))
            query = (
                sa.select(_checkpoints).where(mine & (columns.is_cut | passed)).order_by(columns.order.desc()).limit(1)
            )
            row = connection.execute(query).first()
            if row is None:
                return None
            if not row.is_cut:
                connection.execute(
                    sa.update(_checkpoints).where(mine & (columns.order == row.order)).values(is_cut=True)
                )
            connection.execute(sa.delete(_checkpoints).where(mine & (columns.order < row.order)))
            self._thin(connection, channel)
            return _unpack_checkpoint(row.state)

    def _thin(self, connection: sa.Connection, channel: str) -> None:
        """While a target is away, candidates gather: of many, every second one is enough."""
        columns = _checkpoints.c
        mine = (columns.deployment == self.deployment) & (columns.channel == channel) & ~columns.is_cut
        orders = list(connection.execute(sa.select(columns.order).where(mine).order_by(columns.order)).scalars())
        if len(orders) > MOST_CANDIDATES:
            connection.execute(sa.delete(_checkpoints).where(mine & columns.order.in_(orders[1:-1:2])))

    def least_applied(self, channel: str, targets: Iterable[str]) -> tuple[Order, int] | None:
        """The place in a channel's stream that every one of these targets has durably passed; None: no target is named."""
        with self._transaction() as connection:
            return self._least_applied(connection, channel, list(targets))

    def remember(self, channel: str, name: str, proposal: str) -> str:
        """Keep a decision once and for all; answer what was decided first."""
        query = sa.select(_decisions.c.value).where(
            (_decisions.c.deployment == self.deployment)
            & (_decisions.c.channel == channel)
            & (_decisions.c.name == name)
        )
        with self._transaction() as connection:
            kept = connection.execute(query).scalar()
            if kept is not None:
                return str(kept)
            values = {"deployment": self.deployment, "channel": channel, "name": name, "value": proposal}
            self._upsert(connection, _decisions, values)
            return proposal

    def drop_checkpoints_after(self, channel: str, order: Order) -> None:
        """Forget candidates beyond a place that capture goes back to: what they were taken after is to be published again."""
        mine = (_checkpoints.c.deployment == self.deployment) & (_checkpoints.c.channel == channel)
        with self._transaction() as connection:
            connection.execute(
                sa.delete(_checkpoints).where(mine & (_checkpoints.c.order > order) & ~_checkpoints.c.is_cut)
            )

    def _least_applied(self, connection: sa.Connection, channel: str, targets: list[str]) -> tuple[Order, int] | None:
        """None: no target wants this channel."""
        if not targets:
            return None
        query = sa.select(_applied.c.target, _applied.c.order, _applied.c.row_end).where(
            (_applied.c.deployment == self.deployment) & (_applied.c.source == channel) & _applied.c.target.in_(targets)
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
                    _applied,
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
                        (_applied.c.order < new.order)
                        | ((_applied.c.order == new.order) & (_applied.c.row_end <= new.row_end))
                    ),
                )

    def laggards(self, source: str, targets: Iterable[str], newest: tuple[Order, int]) -> dict[str, float]:
        """Which of these targets have not passed `newest` of a source, and when (epoch seconds) each was last seen to move.

        A target that never moved is left out: it has not been started yet, and `max_behind` is not about that.
        """
        query = sa.select(_applied).where(
            (_applied.c.deployment == self.deployment)
            & (_applied.c.source == source)
            & _applied.c.target.in_(list(targets))
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return {row.target: row.at for row in rows if (row.order, row.row_end) < newest}

    def detach(self, target: str, reason: str) -> None:
        """Take a target out of every cut: it is too far behind, and comes back only by being made equal anew."""
        with self._transaction() as connection:
            values = {"deployment": self.deployment, "target": target, "since": time.time(), "reason": reason}
            self._upsert(connection, _detached, values)

    def detached(self) -> dict[str, str]:
        """The detached targets, with the reason."""
        query = sa.select(_detached.c.target, _detached.c.reason).where(_detached.c.deployment == self.deployment)
        with self._transaction() as connection:
            return {row.target: row.reason for row in connection.execute(query)}

    def applied(self, target: str) -> dict[str, Applied]:
        query = sa.select(_applied).where((_applied.c.deployment == self.deployment) & (_applied.c.target == target))
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
                    connection, _parked, {"deployment": self.deployment, "target": target, "id": ident, "row": packed}
                )

    def unpark(self, target: str, ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            mine = (_parked.c.deployment == self.deployment) & (_parked.c.target == target)
            connection.execute(sa.delete(_parked).where(mine & _parked.c.id.in_(ids)))

    def parked(self, target: str) -> dict[str, bytes]:
        query = sa.select(_parked.c.id, _parked.c.row).where(
            (_parked.c.deployment == self.deployment) & (_parked.c.target == target)
        )
        with self._transaction() as connection:
            return {row.id: row.row for row in connection.execute(query)}

    # -- what an operator says

    def paused(self) -> set[tuple[str, str]]:
        query = sa.select(_paused.c.channel, _paused.c.role).where(_paused.c.deployment == self.deployment)
        with self._transaction() as connection:
            return {(row.channel, row.role) for row in connection.execute(query)}

    def set_paused(self, channel: str, role: str, paused: bool) -> None:
        with self._transaction() as connection:
            if paused:
                self._upsert(
                    connection,
                    _paused,
                    {"deployment": self.deployment, "channel": channel, "role": role, "since": time.time()},
                )
            else:
                mine = (
                    (_paused.c.deployment == self.deployment)
                    & (_paused.c.channel == channel)
                    & (_paused.c.role == role)
                )
                connection.execute(sa.delete(_paused).where(mine))

    def command(self, channel: str, role: str, command: str, argument: str) -> None:
        with self._transaction() as connection:
            values = {"channel": channel, "role": role, "command": command, "argument": argument, "at": time.time()}
            connection.execute(sa.insert(_commands).values(deployment=self.deployment, **values))

    def commands(self, channel: str, role: str) -> list[Command]:
        mine = (
            (_commands.c.deployment == self.deployment) & (_commands.c.channel == channel) & (_commands.c.role == role)
        )
        query = sa.select(_commands).where(mine).order_by(_commands.c.id)
        with self._transaction() as connection:
            return [Command(row.id, row.command, row.argument) for row in connection.execute(query)]

    def command_done(self, command: Command) -> None:
        with self._transaction() as connection:
            connection.execute(sa.delete(_commands).where(_commands.c.id == command.id))

    def audit(self, who: str, what: str, subject: str, before: str = "", after: str = "") -> None:
        values = {"at": time.time(), "who": who, "what": what, "subject": subject, "before": before, "after": after}
        with self._transaction() as connection:
            connection.execute(sa.insert(_audit).values(deployment=self.deployment, **values))

    def audit_trail(self, limit: int = 100) -> list[dict[str, object]]:
        query = (
            sa.select(_audit).where(_audit.c.deployment == self.deployment).order_by(_audit.c.id.desc()).limit(limit)
        )
        with self._transaction() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it

    # -- counters that survive restarts

    def counters(self, role: str) -> dict[str, int]:
        query = sa.select(_counters.c.name, _counters.c.value).where(
            (_counters.c.deployment == self.deployment) & (_counters.c.role == role)
        )
        with self._transaction() as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def save_counters(self, role: str, values: Mapping[str, int]) -> None:
        with self._transaction() as connection:
            for name, value in values.items():
                self._upsert(
                    connection, _counters, {"deployment": self.deployment, "role": role, "name": name, "value": value}
                )

    def forget_channel(self, channel: str) -> None:
        """Remove everything of a channel: `datong remove`."""
        with self._transaction() as connection:
            for table, column in (
                (_checkpoints, _checkpoints.c.channel),
                (_applied, _applied.c.target),
                (_applied, _applied.c.source),
                (_paused, _paused.c.channel),
                (_detached, _detached.c.target),
                (_decisions, _decisions.c.channel),
                (_commands, _commands.c.channel),
                (_parked, _parked.c.target),
            ):
                connection.execute(
                    sa.delete(table).where((table.c.deployment == self.deployment) & (column == channel))
                )
            roles = [f"capture.{channel}", f"apply.{channel}"]
            connection.execute(
                sa.delete(_counters).where((_counters.c.deployment == self.deployment) & _counters.c.role.in_(roles))
            )

    # -- plumbing

    def _transaction(self) -> _Transaction:
        return _Transaction(self._engine, self._url)

    def _upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, object],
        where: Callable[[Any], sa.ColumnElement[bool]] | None = None,
    ) -> None:
        """`where`, given the new row's columns, says whether an existing row is replaced."""
        insert: Any = (sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)).values(**values)
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in values.items() if name not in keys}
        condition = None if where is None else where(insert.excluded)
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=rest, where=condition))


class _Transaction:
    """`engine.begin()` whose errors are the engine's own: one line, no password."""

    def __init__(self, engine: sa.Engine, url: sa.URL) -> None:
        self._context = engine.begin()
        self._place = url.render_as_string(hide_password=True)

    def __enter__(self) -> sa.Connection:
        try:
            return self._context.__enter__()
        except SQLAlchemyError as error:
            raise self._told(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._context.__exit__(kind, error, trace)
        except SQLAlchemyError as failed:
            raise self._told(failed) from None
        if isinstance(error, SQLAlchemyError):
            raise self._told(error) from None

    def _told(self, error: SQLAlchemyError) -> TransientError:
        cause = (
            str(error.orig).splitlines()[0] if isinstance(error, DBAPIError) and error.orig else type(error).__name__
        )
        return TransientError(f"hub store {self._place}: {cause} - check store.url and that it is writable")


def _pin_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
