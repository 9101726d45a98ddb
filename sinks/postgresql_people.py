"""Writing people into PostgreSQL: rows whose key the server gives, and their links in datong_identity. Guards I1.

Every row is an INSERT ... RETURNING of its own, many in one pipeline: the order in which one statement of many rows answers is not
promised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sinks.bookkeeping import CREATE_LINKS_POSTGRESQL, LINKS_TABLE
from sinks.contract import Halt, NewLink, Rejected, RowWrite, TransactionHeader
from sinks.postgresql_session import PostgreSQLSession, Query
from sinks.postgresql_statements import TablePlan
from sinks.postgresql_texts import quote_name
from transforms.local_keys import channel_values
from transforms.tables import Table
from transforms.values import ChannelValue, RefusedValueError

_LINKS: Final = f"public.{LINKS_TABLE}"
_AT_ONCE: Final = 100
_KEEP: Final = f"""INSERT INTO {_LINKS} (deployment, target, person, entity, local_key)
SELECT $1, $2, v.* FROM unnest($3::int8[], $4::text[], $5::text[]) AS v
ON CONFLICT (deployment, target, person) DO UPDATE SET entity = excluded.entity, local_key = excluded.local_key"""


class PostgreSQLPeople:
    """`sinks.contract.PeopleSink` over a PostgreSQLSink's connection."""

    def __init__(
        self,
        session: Callable[[], PostgreSQLSession],
        transaction: Callable[[], tuple[PostgreSQLSession, TransactionHeader]],
        plan: Callable[[Table], TablePlan],
        explained: Callable[[Sequence[RowWrite], Rejected], Rejected],
    ) -> None:
        """`explained` adds to a refusal of one row which rows are in the way."""
        self._session = session
        self._transaction = transaction
        self._plan = plan
        self._explained = explained

    def prepare(self) -> list[str]:
        session = self._session()
        if session.ask("SELECT to_regclass($1) IS NOT NULL", _LINKS)[0][0]:
            return []
        try:
            session.run_one(Query(CREATE_LINKS_POSTGRESQL, "creating our tables"))
        except Halt as error:
            raise Halt(str(error), error.code, mend=CREATE_LINKS_POSTGRESQL) from None
        return [CREATE_LINKS_POSTGRESQL]

    def create(
        self, writes: Sequence[RowWrite], key_columns: tuple[str, ...], *, single: bool = False
    ) -> list[tuple[ChannelValue, ...] | None]:
        session, _ = self._transaction()
        if single:
            session.run_one(Query("SAVEPOINT datong_row", "setting a savepoint"))
            try:
                keys = self._create(session, writes[:1], key_columns, single=True)
            except Rejected as refusal:
                session.run([
                    Query("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"),
                    Query("RELEASE SAVEPOINT datong_row", "going back to a savepoint"),
                ])  # fmt: skip
                raise self._explained(writes[:1], refusal) from None
            session.run_one(Query("RELEASE SAVEPOINT datong_row", "leaving a savepoint"))
            return keys
        keys = []
        for start in range(0, len(writes), _AT_ONCE):
            keys += self._create(session, writes[start : start + _AT_ONCE], key_columns, single=False)
        return keys

    def _create(
        self, session: PostgreSQLSession, writes: Sequence[RowWrite], key_columns: tuple[str, ...], *, single: bool
    ) -> list[tuple[ChannelValue, ...] | None]:
        queries = [self._insert(write, key_columns) for write in writes]
        try:
            answers = session.run(queries, single=single)
        except Rejected as error:
            if len(writes) == 1:
                error.ref = writes[0].ref
            raise
        table = self._plan(writes[0].table).table
        for write, answer in zip(writes, answers, strict=True):
            if not answer.rows:
                raise Rejected(
                    f"insert into {table}: no row came of it: a trigger or a rule of the table keeps it", ref=write.ref
                )
        return [channel_values(table, key_columns, answer.rows[0]) for answer in answers]

    def _insert(self, write: RowWrite, key_columns: tuple[str, ...]) -> Query:
        plan = self._plan(write.table)
        columns = (*write.columns, *(column for column, _ in write.fresh))
        given = (*write.values, *(value for _, value in write.fresh))
        try:
            # As elements of arrays of one: the encoders write nothing else.
            values = tuple(plan.encoder(c)((value,)) for c, value in zip(columns, given, strict=True))
        except RefusedValueError as error:
            raise Rejected(f"{plan.table}: {error}", ref=write.ref) from None
        names = ", ".join(map(quote_name, columns))
        marks = ", ".join(f"(${n}::{plan.column(c).bare_type}[])[1]" for n, c in enumerate(columns, 1))
        keys = ", ".join(f"{quote_name(column)}::text" for column in key_columns)
        body = f"({names}) SELECT {marks}" if columns else "DEFAULT VALUES"
        return Query(f"INSERT INTO {plan.name} {body} RETURNING {keys}", f"insert into {plan.table}", values)

    def look_up(
        self, table: Table, by: tuple[str, ...], keys: Sequence[tuple[ChannelValue, ...]], wanted: tuple[str, ...]
    ) -> list[tuple[ChannelValue, ...]]:
        if not keys:
            return []
        plan, columns = self._plan(table), (*by, *wanted)
        arrays = tuple(plan.encoder(column)([key[at] for key in keys]) for at, column in enumerate(by))
        source = ", ".join(f"${n}::{plan.column(column).bare_type}[]" for n, column in enumerate(by, 1))
        aliases = ", ".join(f"k{n}" for n in range(len(by)))
        found = " AND ".join(f"t.{quote_name(column)} = v.k{n}" for n, column in enumerate(by))
        selected = ", ".join(f"t.{quote_name(column)}::text" for column in columns)
        sql = f"SELECT {selected} FROM unnest({source}) AS v ({aliases}) JOIN {plan.name} AS t ON {found}"
        rows = self._session().run_one(Query(sql, f"lookup in {plan.table}", arrays)).rows
        return [channel_values(plan.table, columns, row) for row in rows]

    def keep(self, links: Sequence[NewLink]) -> None:
        session, header = self._transaction()
        if links:
            people, entities, keys = zip(*[(link.person, link.entity, link.local_key) for link in links], strict=True)
            parameters = (header.deployment, header.target, list(people), list(entities), list(keys))
            session.run_one(Query(_KEEP, "keeping links", parameters))

    def drop(self, people: Sequence[int]) -> None:
        session, header = self._transaction()
        sql = f"DELETE FROM {_LINKS} WHERE deployment = $1 AND target = $2 AND person = ANY($3::int8[])"
        session.run_one(Query(sql, "dropping links", (header.deployment, header.target, list(people))))

    def kept(self, deployment: str, target: str) -> list[NewLink]:
        sql = f"SELECT person, entity, local_key FROM {_LINKS} WHERE deployment = $1 AND target = $2"
        return [NewLink(*row) for row in self._session().ask(sql, deployment, target)]
