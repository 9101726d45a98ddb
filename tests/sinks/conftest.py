"""The targets of one behaviour: every engine, those with a network, those of one family."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks import postgresql_staging
from tests.servers import PostgreSQLDatabase, SQLiteDatabase
from tests.sinks.targets import SERVERS, STAGED, Target, opened


@pytest.fixture(params=SERVERS)
def server_target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target with sessions, accounts, a network."""
    yield from opened(request.param, request.getfixturevalue(f"{request.param}_db"))


@pytest.fixture(params=[*SERVERS, STAGED, "sqlite"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """`STAGED`: PostgreSQL that takes every group of rows by COPY and a temporary table."""
    engine = request.param
    if engine == STAGED:
        engine = "postgresql"
        monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 1)
    yield from opened(engine, request.getfixturevalue(f"{engine}_db"))


@pytest.fixture(params=["mariadb", "mysql"])
def mysql_target(request: pytest.FixtureRequest) -> Iterator[Target]:
    yield from opened(request.param, request.getfixturevalue(f"{request.param}_db"))


@pytest.fixture(params=["postgresql", STAGED])
def postgresql_target(
    request: pytest.FixtureRequest, postgresql_db: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    if request.param == STAGED:
        monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 1)
    yield from opened("postgresql", postgresql_db)


@pytest.fixture
def staged(postgresql_db: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """PostgreSQL, with groups of three rows and more by COPY."""
    monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 3)
    yield from opened("postgresql", postgresql_db)


@pytest.fixture
def sqlite_target(sqlite_db: SQLiteDatabase) -> Iterator[Target]:
    yield from opened("sqlite", sqlite_db)
