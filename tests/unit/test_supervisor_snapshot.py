"""What the supervisor tells: addresses only to those who may know, positions as one looks them up, what needs a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.admin.texts import CHINESE, ENGLISH, preferred
from cdc.redis_connection import RedisAddress
from cdc.supervisor.rates import Rates
from cdc.supervisor.settings import AdminSettings, ServiceSettings
from cdc.supervisor.snapshot import public, readable_position


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("mysql://u@db.corp:3306/shop refused", "(server) refused"),
        ("connect to 10.1.2.3:5432 failed", "connect to (server) failed"),
        ("connect to 10.1.2.3 failed", "connect to (server) failed"),
        ("[2001:db8::1]:5432 is away", "(server) is away"),
        ("fe80::1 and 2001:db8:0:0:0:0:0:1 are away", "(server) and (server) are away"),
        ("datong@db-1.corp.example is away", "(server) is away"),
        ("shop-db is away; shop-db2 is not", "(server) is away; shop-db2 is not"),
        ("host shop-db:3306", "host (server)"),
        ("redis.internal:6379 timed out", "(server) timed out"),
        ("SLOT_LOST: slot datong_coffee_crm is gone - run `datong resync`", None),
        ("binlog.000004 was purged at 12:30:05", None),
        ("mappings.website.orders.columns.state: no field 'sttus'", None),
        ("lag of 61 s since 2026-11-21T22:00:13", None),
    ],
)
def test_a_public_reason_names_no_server_and_keeps_the_rest(reason: str, shown: str | None) -> None:
    assert public(reason, ["shop-db"]) == (reason if shown is None else shown)


@pytest.mark.parametrize(
    ("native", "shown"),
    [
        ('{"lsn":"0/19557D0","system":"77"}', "0/19557D0"),
        ('{"server":"12","file":"binlog.000001","offset":69446}', "binlog.000001:69446"),
        ("mysql-bin.1:4", "mysql-bin.1:4"),
        ("", ""),
        ("[1]", "[1]"),
    ],
)
def test_a_position_is_shown_as_one_would_look_it_up(native: str, shown: str) -> None:
    assert readable_position(native) == shown


def test_rates_are_over_the_last_ten_seconds_and_start_anew_when_a_counter_falls() -> None:
    rates = Rates()
    assert rates.note("a", 100, 0.0) == 0
    assert rates.note("a", 200, 5.0) == 20
    assert rates.note("a", 200, 14.0) == 0
    assert rates.note("a", 10, 15.0) == 0
    assert rates.note("a", 30, 17.0) == 10


def test_what_cannot_change_while_running_is_named_and_left_as_it_was() -> None:
    running = ServiceSettings(
        "coffee", frozenset(), (), {}, AdminSettings("127.0.0.1", 8080, "a"), RedisAddress("redis://a"), "sqlite:///a"
    )
    fresh = replace(running, store_url="sqlite:///b", admin=AdminSettings("127.0.0.1", 9090, "b"))
    assert fresh.needs_restart(running) == "needs a restart: store.url, admin.listen changed in the file"
    in_force = fresh.with_fixed_of(running)
    assert in_force.needs_restart(running) == ""
    assert in_force.admin == AdminSettings("127.0.0.1", 8080, "b")
    assert replace(running, admin=replace(running.admin, token="b")).needs_restart(running) == ""


def test_the_page_says_everything_in_both_languages() -> None:
    assert CHINESE.keys() == ENGLISH.keys()
    assert all(CHINESE.values())


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN,zh;q=0.9", "zh"), ("en-GB", "en"), ("fr, zh;q=0.5", "zh"), ("", "en"), ("de", "en"), ("\x00;;,", "en")],
)
def test_the_language_is_the_first_that_both_speak(header: str, language: str) -> None:
    assert preferred(header) == language
