"""What one would do on MySQL and MariaDB without our sink: FACTS.md's alternatives, each at its best that we know."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pymysql
from pymysql.constants import CLIENT
from sqlalchemy import create_engine, text

from bench.harness.workload import COLUMNS, TABLE
from bench.writers.contract import CHANGED, MAKE_PROGRESS, MOVE_PROGRESS, Make, Op
from sinks.connections import Address

_NAMES: Final[dict[Op, tuple[str, ...]]] = {"insert": COLUMNS, "update": (*CHANGED, "id"), "delete": ("id",)}
_UPSERT: Final = "ON DUPLICATE KEY UPDATE " + ", ".join(f"{c} = VALUES({c})" for c in COLUMNS[1:])
_SET: Final = ", ".join(f"t.{c} = v.{c}" for c in CHANGED)
# Which values of a batch stand between quotes.
_FORMS: Final = {"insert": "(%s,'%s',%s,%s,%s,%s,'%s','%s','%s','%s')", "update": "(%s,%s,'%s',%s)", "delete": "%s"}


def _connect(address: Address) -> pymysql.Connection[Any]:
    return pymysql.connect(
        host=address.host, port=address.port, user=address.user, password=address.password, database=address.database,
        charset="utf8mb4", autocommit=False, local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS,
        init_command="SET sql_notes = 0",
    )  # fmt: skip


class Executemany:
    """PyMySQL's executemany, which makes one statement of many rows of INSERTs and sends others one by one."""

    def __init__(self, address: Address, *, progress: bool) -> None:
        self._connection = _connect(address)
        self._progress = progress
        if progress:
            self._make_progress()
        self._mysql = address.engine == "mysql"
        marks = ", ".join(["%s"] * len(COLUMNS))
        self._statements: dict[Op, str] = {
            "insert": f"INSERT INTO {TABLE} VALUES ({marks}) {_UPSERT}",
            "update": f"UPDATE {TABLE} SET {', '.join(f'{c} = %s' for c in CHANGED)} WHERE id = %s",
            "delete": f"DELETE FROM {TABLE} WHERE id = %s",
        }

    def _make_progress(self) -> None:
        with self._connection.cursor() as cursor:
            for statement in MAKE_PROGRESS:
                cursor.execute(statement)
        self._connection.commit()

    def prepared(self, op: Op, batch: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002 - the same for all
        return batch

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        with self._connection.cursor() as cursor:
            if self._progress:
                cursor.execute(MOVE_PROGRESS)
            cursor.executemany(self._statements[op], batch)
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


class Literals(Executemany):
    """A minimal literal encoder that knows these columns and trusts their values: a form for a row, and one statement."""

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        rows = list(map(_FORMS[op].__mod__, batch))
        if op == "insert":
            statement = f"INSERT INTO {TABLE} VALUES {','.join(rows)} {_UPSERT}"
        elif op == "delete":
            statement = f"DELETE FROM {TABLE} WHERE id IN ({','.join(rows)})"
        else:
            statement = f"UPDATE {self._derived(rows)} STRAIGHT_JOIN {TABLE} AS t ON t.id = v.id SET {_SET}"
        self._send(statement)

    def _send(self, statement: str) -> None:
        """With the progress in the same packet."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"{MOVE_PROGRESS};{statement}" if self._progress else statement)
            while cursor.nextset():
                pass
        self._connection.commit()

    def _derived(self, rows: Sequence[str]) -> str:
        names = _NAMES["update"]
        if self._mysql:
            return f"(VALUES ROW{',ROW'.join(rows)}) AS v ({','.join(names)})"
        return f"(SELECT {','.join(f'NULL AS {n}' for n in names)} FROM DUAL WHERE FALSE UNION ALL VALUES {','.join(rows)}) AS v"


class ManyUpdates(Literals):
    """Updates one by one, many in a packet."""

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        if op != "update":
            super().write(op, batch)
            return
        form = f"UPDATE {TABLE} SET status = %s, amount = %s, updated_at = '%s' WHERE id = %s"
        self._send(";".join(map(form.__mod__, batch)))


class LoadData(Executemany):
    """LOAD DATA LOCAL into a temporary table, then merge."""

    def __init__(self, address: Address, *, progress: bool) -> None:
        super().__init__(address, progress=progress)
        with self._connection.cursor() as cursor:
            for op in _NAMES:
                cursor.execute(
                    f"CREATE TEMPORARY TABLE bench_{op} ENGINE=InnoDB AS SELECT {', '.join(_NAMES[op])} FROM {TABLE} LIMIT 0"
                )
        folder = tempfile.TemporaryDirectory()
        self._folder = folder
        self._file = Path(folder.name) / "batch"

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        self._file.write_text("\n".join(["\t".join(map(str, one)) for one in batch]) + "\n", encoding="utf-8")
        merge = {
            "insert": f"INSERT INTO {TABLE} SELECT * FROM bench_insert {_UPSERT}",
            "update": f"UPDATE bench_update AS v STRAIGHT_JOIN {TABLE} AS t ON t.id = v.id SET {_SET}",
            "delete": f"DELETE t FROM bench_delete AS v STRAIGHT_JOIN {TABLE} AS t ON t.id = v.id",
        }[op]
        with self._connection.cursor() as cursor:
            if self._progress:
                cursor.execute(MOVE_PROGRESS)
            cursor.execute(f"LOAD DATA LOCAL INFILE '{self._file}' INTO TABLE bench_{op} CHARACTER SET utf8mb4")
            cursor.execute(merge)
            cursor.execute(f"DELETE FROM bench_{op}")
        self._connection.commit()

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


class SqlAlchemyCore(Executemany):
    def __init__(self, address: Address, *, progress: bool) -> None:
        super().__init__(address, progress=progress)
        self._engine = create_engine("mysql+pymysql://", creator=lambda: _connect(address))
        self._core = self._engine.connect()
        marks = ", ".join(f":{column}" for column in COLUMNS)
        self._texts = {
            "insert": text(f"INSERT INTO {TABLE} VALUES ({marks}) {_UPSERT}"),
            "update": text(f"UPDATE {TABLE} SET {', '.join(f'{c} = :{c}' for c in CHANGED)} WHERE id = :id"),
            "delete": text(f"DELETE FROM {TABLE} WHERE id = :id"),
        }

    def write(self, op: Op, batch: Sequence[Any]) -> None:
        names = _NAMES[op]
        if self._progress:
            self._core.execute(text(MOVE_PROGRESS))
        self._core.execute(self._texts[op], [dict(zip(names, one, strict=True)) for one in batch])
        self._core.commit()

    def close(self) -> None:
        super().close()
        self._core.close()
        self._engine.dispose()


WRITERS: Final[dict[str, Make]] = {
    "pymysql-executemany": Executemany, "literals": Literals, "update-statements": ManyUpdates, "load-data-merge": LoadData,
    "sqlalchemy-core": SqlAlchemyCore,
}  # fmt: skip
