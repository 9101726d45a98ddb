"""The whole table of driver errors: which are tried again, which park a row, which stop the channel (CASES.md N2)."""

from __future__ import annotations

import psycopg
import pymysql
import pytest

from sinks.classification import (
    MYSQL,
    POSTGRESQL,
    POSTGRESQL_CLASSES,
    mysql_error,
    mysql_kind,
    postgresql_error,
    postgresql_kind,
)
from sinks.contract import Halt, Rejected, Transient
from sinks.messages import mysql_message

CLASSES = {"transient": Transient, "rejected": Rejected, "halt": Halt}

EXPECTED_POSTGRESQL = {
    "transient": "40001 40P01 55P03 57014 53100 53200 53300 57P01 57P02 57P03 08006 08003 08001 08000 25006 53400 25P03 58030",
    "rejected": "23505 23503 23502 23514 23P01 22001 22003 22P02 22007 22008 22021 22P05 21000 54000 P0001 40002 44000",
    "halt": "42P01 42703 42501 28P01 28000 3D000 08P01 42601 42P10 42804 428C9 0A000 3F000",
}
EXPECTED_MYSQL = {
    "transient": "1205 1213 1040 1053 1129 1153 1290 1836 2002 2003 2006 2013 3024 1969 1021 1114 1317 1927 3100 4031 1180",
    "rejected": "1062 1048 1264 1292 1366 1406 1452 1451 3819 4025 1265 1364 1644 3140 1690 1586 1118",
    "halt": "1045 1044 1049 1054 1142 1143 1146 1227 1064 1130 1698 2026 1906 3105",
}


@pytest.mark.parametrize(("code", "kind"), [(c, k) for k, codes in EXPECTED_POSTGRESQL.items() for c in codes.split()])
def test_each_postgresql_code_has_its_kind_in_a_batch_and_alone(code: str, kind: str) -> None:
    error = _with_sqlstate(code)
    for single in (True, False):
        sorted_error = postgresql_error(error, "insert into public.t", single=single)
        assert type(sorted_error) is CLASSES[kind]
        assert sorted_error.code == code


@pytest.mark.parametrize(("code", "kind"), [(c, k) for k, codes in EXPECTED_MYSQL.items() for c in codes.split()])
def test_each_mysql_code_has_its_kind_in_a_batch_and_alone(code: str, kind: str) -> None:
    for single in (True, False):
        sorted_error = mysql_error(pymysql.err.OperationalError(int(code), "text"), "insert into shop.t", single=single)
        assert type(sorted_error) is CLASSES[kind]
        assert sorted_error.code == code


def test_every_entry_of_the_tables_is_answered_as_it_stands() -> None:
    assert all(mysql_kind(code) == kind for code, kind in MYSQL.items())
    assert all(postgresql_kind(code) == kind for code, kind in POSTGRESQL.items())
    assert all(postgresql_kind(f"{start}ZZZ") == kind for start, kind in POSTGRESQL_CLASSES.items())


def test_no_mysql_code_is_listed_under_two_kinds() -> None:
    from sinks import classification

    lists = [classification._MYSQL_TRANSIENT, classification._MYSQL_REJECTED, classification._MYSQL_HALT]
    codes = [code for one in lists for code in one]
    assert len(codes) == len(set(codes)) == len(MYSQL)


def test_an_unknown_code_rejects_a_single_row_and_halts_a_batch() -> None:
    assert type(mysql_error(pymysql.err.InternalError(64999, "?"), "w", single=True)) is Rejected
    assert type(mysql_error(pymysql.err.InternalError(64999, "?"), "w", single=False)) is Halt
    unknown = _with_sqlstate("QQ123")
    assert type(postgresql_error(unknown, "w", single=True)) is Rejected
    assert type(postgresql_error(unknown, "w", single=False)) is Halt


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), EOFError(), pymysql.err.InterfaceError(0, "")]
)
def test_a_lost_socket_is_transient(error: Exception) -> None:
    assert type(mysql_error(error, "w")) is Transient


def test_a_lost_postgresql_connection_is_transient_and_a_wrong_password_halts() -> None:
    assert (
        type(postgresql_error(psycopg.OperationalError("server closed the connection unexpectedly"), "w")) is Transient
    )
    wrong = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "u"')
    assert type(postgresql_error(wrong, "w")) is Halt


@pytest.mark.parametrize(("code", "text", "kept"), [
    (1062, "Duplicate entry 'SECRET' for key 'members.phone'", "members.phone"),
    (1062, "Duplicate entry 'SECRET' for key 'a' for key 'members.phone'", "members.phone"),
    (1366, r"Incorrect string value: 'SECRET\xF0' for column `d`.`t`.`name` at row 1", "name"),
    (1292, "Incorrect datetime value: 'SECRET' for column 'at' at row 3", "'at'"),
    (1264, "Out of range value for column 'n' at row 1", "'n'"),
    (1048, "Column 'n' cannot be null", "'n'"),
    (1644, "SECRET", "trigger"),
    (1411, "Incorrect datetime value: 'SECRET' for function str_to_date", "1411"),
    (64999, "who knows SECRET", "64999"),
    (1452, "Cannot add or update a child row: a foreign key constraint fails (`d`.`t`, CONSTRAINT `x` FOREIGN KEY ...)", "`x`"),
])  # fmt: skip
def test_a_message_keeps_names_and_drops_values(code: int, text: str, kept: str) -> None:
    message = mysql_message(code, text)
    assert "SECRET" not in message
    assert kept in message
    assert str(code) in message
    assert "\n" not in message


def _with_sqlstate(code: str) -> psycopg.Error:
    error = psycopg.errors.DatabaseError("text")
    error.sqlstate = code
    return error
