"""What the loop guard in Redis and the log say of one transaction, on a real Redis: I2."""

import pytest

from cdc.capture.echoes import Echoes
from cdc.capture.state import CaptureState, first_checkpoint
from cdc.control import Control
from cdc.loop_guard import GuardRecord, LoopGuard
from cdc.model import ApplyRecord, LogPart, Position
from cdc.redis_connection import RedisAddress
from sinks.bookkeeping import LEASE_TOKEN

THREAD = "7"


@pytest.fixture
def guard(redis_db):
    guard = LoopGuard(RedisAddress(redis_db.url()), "coffee", "crm")
    yield guard
    guard.close()


def made(token):
    return ApplyRecord("coffee", "crm", 1, token, 0, ())


def part(order, token):
    return LogPart(order, 0, 1, True, 1, THREAD, f"gtid {order}", Position(order + 1, ""), [], made(token))


def test_taking_over_does_not_use_up_the_record_of_the_transaction_that_follows(guard):
    """An applier that starts takes the lease and writes at once: capture may read the first when Redis knows the second already."""
    state = CaptureState("crm", first_checkpoint(Position(1, ""), "r"))
    control = Control("capture", "crm", None, lambda: False)
    echoes = Echoes(guard, state, control, engine="mysql", log_carries_record=True)
    guard.register(f"{THREAD}/1", GuardRecord("server", made("first")))
    taking_over, first = part(1, LEASE_TOKEN), part(2, "first")
    echoes.ask([taking_over])
    assert echoes.record_of(taking_over) == taking_over.record
    assert echoes.passed == []
    echoes.ask([first])
    assert echoes.record_of(first) == first.record
    assert echoes.passed == [f"{THREAD}/1"]
    assert "guard_misses" not in control.facts.alarms
    second = part(3, "second")
    echoes.ask([second])
    assert echoes.record_of(second) == second.record
    assert control.facts.alarms["guard_misses"] == 1
