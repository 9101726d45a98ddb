"""What the interactive demo shows fits a terminal of 100 columns, Chinese characters being two wide, and says how things stand."""

import unicodedata
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from cdc.demo import screen
from cdc.demo.business import SIDES, SideName
from cdc.demo.expectation import Row
from cdc.demo.movement import Second

PLACE = screen.Place(
    folder=Path("/tmp/datong-demo-abcdefgh"),
    ports=dict.fromkeys(SIDES, 31999),
    admin_port=31999,
    token="t" * 20,
    command=["/home/somebody/datong/.venv/bin/datong", "-c", "/tmp/datong-demo-abcdefgh/coffee.yaml", "run"],
    pid=4_194_304,
    seed=999_999,
)


def _columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def _second(**given: object) -> Second:
    ways = [(source, target) for source in SIDES for target in SIDES if source != target]
    busy = Second(moved=Counter(dict.fromkeys(ways, 12345)), seconds=[0.009] * 98 + [123.456] * 2)
    for name, value in given.items():
        setattr(busy, name, value)
    return busy


def test_everything_fits_100_columns() -> None:
    second = _second(waiting=123_456, oldest=3600.0)
    rows: dict[SideName, Row | None] = {"website": ("W202500010008", "", "已支付", "1234567.89元", None)}
    texts = [
        screen.header(PLACE),
        screen.column_heads(),
        screen.line(second, screen.standing(second, "starting")),
        screen.example({**rows, "miniapp": ("W202500010008", "", 1, 123_456_789, None), "crm": None}),
    ]
    assert [line for text in texts for line in text.splitlines() if _columns(line) > 100] == []


def test_the_header_shows_process_and_exact_command() -> None:
    shown = screen.header(PLACE)
    assert f"\n  kill -9 {PLACE.pid}\n" in shown
    assert f"\n  set -a; . {PLACE.folder}/env; set +a\n  {' '.join(PLACE.command)}\n" in shown


@pytest.mark.parametrize(
    ("oldest", "service", "shown"),
    [
        (0.0, None, "in step"),
        (1.0, None, "in step"),
        (9.0, None, "7 wait 9 s"),
        (9.0, "no service", "no service: 7 wait 9 s"),
        (0.0, "down", "down"),
    ],
)
def test_how_things_stand(oldest: float, service: str | None, shown: str) -> None:
    assert screen.standing(_second(waiting=7, oldest=oldest), service) == shown


def test_an_order_in_three_words() -> None:
    assert (
        screen.example(
            {
                "website": ("W1", "", "已支付", "19.90元", None),
                "miniapp": ("W1", "", 1, 1990, None),
                "crm": ("W1", "", "PAID", Decimal("19.90"), None),
            }
        ).strip()
        == "order W1: website 已支付 19.90元, miniapp 1 1990, crm PAID 19.90"
    )
    assert screen.example({"website": None, "miniapp": None, "crm": None}) == ""
