"""What the interactive demo says: 100 columns, plain text, a line a second. Pure: facts in, lines out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from cdc.demo.business import SIDES, SideName
from cdc.demo.expectation import Row
from cdc.demo.movement import Second
from cdc.demo.verdict import percentile

LINES_PER_HEAD: Final = 20
IN_STEP_SECONDS: Final = 1.5
_WAYS: Final = tuple((source, target) for source in SIDES for target in SIDES if source != target)
_WIDTH: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are, for the header."""

    folder: Path
    ports: Mapping[SideName, int]
    admin_port: int
    token: str
    command: Sequence[str]
    pid: int
    seed: int


def header(place: Place) -> str:
    folder = place.folder
    ports = place.ports
    return f"""
One coffee business in three systems that were never made for each other, kept equal by Datong:

  website  MariaDB     port {ports["website"]}  members, orders, stock    138-0000-0000      已支付  19.90元
  miniapp  PostgreSQL  port {ports["miniapp"]}  users, orders, inventory  +8613800000000     1       1990
  crm      MariaDB     port {ports["crm"]}  customers, sales, goods   +86 138 0000 0000  PAID    19.90

Look inside with mariadb or psql, and change a row: it arrives in the other two.
  {folder}/sql website      (or miniapp, crm)

Admin page     http://127.0.0.1:{place.admin_port}/  token {place.token}
Configuration  {folder}/coffee.yaml
Service's log  {folder}/datong.log

The service is process {place.pid}. Kill it, let the business go on, start it again in another terminal:
  kill -9 {place.pid}
  set -a; . {folder}/env; set +a
  {" ".join(place.command)}

Below, each second: rows that were committed in one system and seen by a SELECT in another.
Seed {place.seed}. Ctrl-C ends everything and removes {folder}.
"""


def column_heads() -> str:
    first = "".join(f"{source + ' to':>{2 * _WIDTH}}" for source in SIDES)
    second = "".join(f"{target:>{_WIDTH}}" for _, target in _WAYS)
    return f"{'':8}{first}    latency, ms\n{'':8}{second}    p50    p99"


def line(second: Second, state: str) -> str:
    """One second: rows per way, latency, and how things stand."""
    rows = "".join(f"{second.moved[way] or '.':>{_WIDTH}}" for way in _WAYS)
    latencies = [seconds * 1000 for seconds in second.seconds]
    shown = "".join(f"{_milliseconds(percentile(latencies, percent)):>7}" for percent in (50, 99))
    return f"{_clock()}{rows}{shown}  {state}"


def standing(second: Second, service: str | None) -> str:
    """`service`: what is wrong with it, if anything."""
    if second.oldest > IN_STEP_SECONDS:
        behind = f"{second.waiting} wait {second.oldest:.0f} s"
        return f"{service}: {behind}" if service else behind
    return service or "in step"


def note(text: str) -> str:
    return f"{_clock()}  {text}"


def example(rows: Mapping[SideName, Row | None]) -> str:
    """One order as each system holds it."""
    number = next((str(found[0]) for found in rows.values() if found is not None), "")
    shown = [f"{side} {_order(found)}" for side, found in rows.items()]
    return f"{'':10}order {number}: {', '.join(shown)}" if number else ""


def _order(found: Row | None) -> str:
    if found is None:
        return "has deleted it"
    _, _, state, amount, _ = found
    amount = f"{amount:.2f}" if isinstance(amount, Decimal) else amount
    return f"{state} {amount}"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "."
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
