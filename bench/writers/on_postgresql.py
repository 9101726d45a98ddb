"""What one would do on PostgreSQL without our sink: FACTS.md's alternatives, each at its best that we know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import create_engine, text

from bench.harness.workload import COLUMNS, TABLE
from bench.writers.contract import CHANGED, MAKE_PROGRESS, MOVE_PROGRESS, Make, Op
from sinks.connections import Address, connect_postgresql

_TYPES: Final = ("int8", "text", "int8", "int2", "int4", "numeric", "text", "text", "timestamp", "timestamp")
_OF: Final = dict(zip(COLUMNS, _TYPES, strict=True))
_ARRAYS: Final[dict[Op, tuple[str, ...]]] = {"insert": COLUMNS, "update": (*CHANGED, "id"), "delete": ("id",)}
_UPSERT: Final = "ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in COLUMNS[1:])
_SET: Final = ", ".join(f"{c} = v.{c}" for c in CHANGED)


def _from(op: Op, source: str) -> str:
    """The statement that takes a batch out of a table-like source with the batch's columns."""
    if op == "insert":
        return f"INSERT INTO {TABLE} SELECT * FROM {source} {_UPSERT}"
    if op == "update":
        return f"UPDATE {TABLE} AS t SET {_SET} FROM {source} WHERE t.id = v.id"
    return f"DELETE FROM {TABLE} AS t USING {source} WHERE t.id = v.id"


class Executemany:
    """psycopg's executemany, which sends its statements as a pipeline."""

    def __init__(self, address: Address, *, progress: bool) -> None:
        self._connection = connect_postgresql(address, autocommit=False)
        self._progress = progress
        if progress:
            for statement in MAKE_PROGRESS:
                self._connection.execute(statement.encode())
            self._connection.commit()
        marks = ", ".join(["%s"] * len(COLUMNS))
        self._statements: dict[Op, str] = {
            "insert": f"INSERT INTO {TABLE} VALUES ({marks}) {_UPSERT}",
            "update": f"UPDATE {TABLE} SET {', '.join(f'{c} = %s' for c in CHANGED)} WHERE id = %s",
            "delete": f"DELETE FROM {TABLE} WHERE id = %s",
        }

    def prepared(self, op: Op, batch: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002 - the same for all
        return batch

    def _move(self) -> None:
        if self._progress:
            self._connection.execute(MOVE_PROGRESS.encode())

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        self._move()
        with self._connection.cursor() as cursor:
            cursor.executemany(self._statements[op].encode(), batch)
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


class Unnest(Executemany):
    """One array parameter a column, in psycopg's binary form."""

    def __init__(self, address: Address, *, progress: bool) -> None:
        super().__init__(address, progress=progress)
        for op, columns in _ARRAYS.items():
            arrays = ", ".join(f"%b::{_OF[column]}[]" for column in columns)
            self._statements[op] = _from(op, f"unnest({arrays}) AS v ({', '.join(columns)})")

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        self._move()
        self._connection.execute(self._statements[op].encode(), list(map(list, zip(*batch, strict=True))))
        self._connection.commit()


class Copy(Executemany):
    """COPY in binary to a temporary table, then merge."""

    def __init__(self, address: Address, *, progress: bool) -> None:
        super().__init__(address, progress=progress)
        for op, columns in _ARRAYS.items():
            definition = ", ".join(f"{column} {_OF[column]}" for column in columns)
            self._connection.execute(f"CREATE TEMPORARY TABLE bench_{op} ({definition}) ON COMMIT DELETE ROWS".encode())
        self._connection.commit()

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        self._move()
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY bench_{op} FROM STDIN (FORMAT binary)".encode()) as copy:
                copy.set_types([_OF[column] for column in _ARRAYS[op]])
                for one in batch:
                    copy.write_row(one)
            cursor.execute(_from(op, f"bench_{op} AS v").encode())
        self._connection.commit()


class SqlAlchemyCore(Executemany):
    def __init__(self, address: Address, *, progress: bool) -> None:
        super().__init__(address, progress=progress)
        self._engine = create_engine(
            "postgresql+psycopg://", creator=lambda: connect_postgresql(address, autocommit=False)
        )
        self._core = self._engine.connect()
        marks = ", ".join(f":{column}" for column in COLUMNS)
        self._texts = {
            "insert": text(f"INSERT INTO {TABLE} VALUES ({marks}) {_UPSERT}"),
            "update": text(f"UPDATE {TABLE} SET {', '.join(f'{c} = :{c}' for c in CHANGED)} WHERE id = :id"),
            "delete": text(f"DELETE FROM {TABLE} WHERE id = :id"),
        }

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        names = _ARRAYS[op]
        if self._progress:
            self._core.execute(text(MOVE_PROGRESS))
        self._core.execute(self._texts[op], [dict(zip(names, one, strict=True)) for one in batch])
        self._core.commit()

    def close(self) -> None:
        super().close()
        self._core.close()
        self._engine.dispose()


WRITERS: Final[dict[str, Make]] = {
    "psycopg-executemany": Executemany, "unnest-binary": Unnest, "copy-merge": Copy, "sqlalchemy-core": SqlAlchemyCore,
}  # fmt: skip
