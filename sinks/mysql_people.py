"""Writing people into MySQL and MariaDB: rows whose key the server gives, and their links in datong_identity. Guards I1.

Every row is an INSERT of its own, many in one packet: the answer to each carries its AUTO_INCREMENT value. What a statement of many
rows generated would have to be counted up from its first value, which depends on the server's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sinks.bookkeeping import CREATE_LINKS_MYSQL, LINKS_TABLE
from sinks.contract import Halt, NewLink, Rejected, RowWrite, TransactionHeader
from sinks.mysql_literals import quote_name, text_literal
from sinks.mysql_session import Answer, MySQLSession, Statement
from sinks.mysql_statements import DataStatement, Dialect, TablePlan, insert_one
from transforms.local_keys import channel_values
from transforms.tables import Table
from transforms.values import ChannelValue

_LINKS: Final = quote_name(LINKS_TABLE)
_AT_ONCE: Final = 200


class MySQLPeople:
    """`sinks.contract.PeopleSink` over a MySQLSink's connection."""

    def __init__(
        self,
        session: Callable[[], MySQLSession],
        transaction: Callable[[], tuple[MySQLSession, TransactionHeader]],
        plan: Callable[[Table], TablePlan],
        dialect: Callable[[], Dialect],
        explained: Callable[[Sequence[RowWrite], Rejected], Rejected],
    ) -> None:
        """`explained` adds to a refusal of one row which rows are in the way."""
        self._session = session
        self._transaction = transaction
        self._plan = plan
        self._dialect = dialect
        self._explained = explained

    def prepare(self) -> list[str]:
        session = self._session()
        if session.ask(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
            f" AND TABLE_NAME = {text_literal(LINKS_TABLE)}"
        ):
            return []
        try:
            session.run_one(Statement(CREATE_LINKS_MYSQL, "creating our tables"))
        except Halt as error:
            raise Halt(str(error), error.code, mend=CREATE_LINKS_MYSQL) from None
        return [CREATE_LINKS_MYSQL]

    def create(
        self, writes: Sequence[RowWrite], key_columns: tuple[str, ...], *, single: bool = False
    ) -> list[tuple[ChannelValue, ...] | None]:
        if single:
            return self._create_one(writes[0], key_columns)
        keys: list[tuple[ChannelValue, ...] | None] = []
        made: list[DataStatement] = []
        size = 0
        for write in writes:
            statement = self._insert(write)
            characters = len(statement.statement.sql)
            if made and (len(made) == _AT_ONCE or size + characters > self._plain.most_characters):
                keys += self._create(made, key_columns, single=False)
                made, size = [], 0
            made.append(statement)
            size += characters
        return keys + self._create(made, key_columns, single=False) if made else keys

    def _create_one(self, write: RowWrite, key_columns: tuple[str, ...]) -> list[tuple[ChannelValue, ...] | None]:
        session, _ = self._transaction()
        session.run_one(Statement("SAVEPOINT datong_row", "setting a savepoint"))
        try:
            return self._create([self._insert(write)], key_columns, single=True)
        except Rejected as refusal:
            session.run_one(Statement("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"))
            raise self._explained((write,), refusal) from None

    def _create(
        self, made: Sequence[DataStatement], key_columns: tuple[str, ...], *, single: bool
    ) -> list[tuple[ChannelValue, ...] | None]:
        session, _ = self._transaction()
        answers: list[Answer] = []
        try:
            for answer in session.run([statement.statement for statement in made], single=single):
                answers.append(answer)  # noqa: PERF402 - which one failed is told by how many were answered
        except Rejected as error:
            error.ref = made[len(answers)].writes[0].ref
            raise
        for statement, answer in zip(made, answers, strict=True):
            if answer.warnings:
                if len(made) > 1:
                    ref = statement.writes[0].ref
                    raise Rejected(f"{statement.statement.where}: the server left a note of a value", ref=ref)
                session.check_notes(statement.statement.where)
        return [(answer.generated,) if answer.generated and len(key_columns) == 1 else None for answer in answers]

    def _insert(self, write: RowWrite) -> DataStatement:
        return insert_one(self._plan(write.table), write, self._plain)

    @property
    def _plain(self) -> Dialect:
        dialect = self._dialect()
        return Dialect(dialect.row_alias, dialect.max_packet, upsert=False, comment=dialect.comment)

    def look_up(
        self, table: Table, by: tuple[str, ...], keys: Sequence[tuple[ChannelValue, ...]], wanted: tuple[str, ...]
    ) -> list[tuple[ChannelValue, ...]]:
        if not keys:
            return []
        plan, columns = self._plan(table), (*by, *wanted)
        names = ", ".join(map(quote_name, by))
        selected = ", ".join(f"CAST({quote_name(column)} AS CHAR CHARACTER SET utf8mb4)" for column in columns)
        found: list[tuple[ChannelValue, ...]] = []
        for start in range(0, len(keys), _AT_ONCE):
            literals = ", ".join(
                f"({', '.join(plan.writer(column).encode(value) for column, value in zip(by, key, strict=True))})"
                for key in keys[start : start + _AT_ONCE]
            )
            sql = f"SELECT {selected} FROM {plan.name} WHERE ({names}) IN ({literals})"
            rows = self._session().run_one(Statement(sql, f"lookup in {plan.table}")).rows
            found += [channel_values(plan.table, columns, row) for row in rows]
        return found

    def keep(self, links: Sequence[NewLink]) -> None:
        session, header = self._transaction()
        mine = f"{text_literal(header.deployment)}, {text_literal(header.target)}"
        for start in range(0, len(links), 500):
            rows = ", ".join(
                f"({mine}, {link.person}, {text_literal(link.entity)}, {text_literal(link.local_key)})"
                for link in links[start : start + 500]
            )
            session.run_one(
                Statement(
                    f"INSERT INTO {_LINKS} (`deployment`, `target`, `person`, `entity`, `local_key`) VALUES {rows}"
                    " ON DUPLICATE KEY UPDATE `entity` = VALUES(`entity`), `local_key` = VALUES(`local_key`)",
                    "keeping links",
                )
            )

    def drop(self, people: Sequence[int]) -> None:
        session, header = self._transaction()
        mine = f"`deployment` = {text_literal(header.deployment)} AND `target` = {text_literal(header.target)}"
        for start in range(0, len(people), 500):
            some = ", ".join(map(str, people[start : start + 500]))
            session.run_one(Statement(f"DELETE FROM {_LINKS} WHERE {mine} AND `person` IN ({some})", "dropping links"))

    def kept(self, deployment: str, target: str) -> list[NewLink]:
        rows = self._session().ask(
            f"SELECT `person`, `entity`, `local_key` FROM {_LINKS}"
            f" WHERE `deployment` = {text_literal(deployment)} AND `target` = {text_literal(target)}"
        )
        return [NewLink(int(person), str(entity), str(local)) for person, entity, local in rows]
