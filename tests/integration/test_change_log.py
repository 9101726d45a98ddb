"""The change log, the loop guard and the lease on a real Redis."""

import subprocess
import sys

import msgspec
import pytest

from cdc.capture.state import CaptureState, first_checkpoint
from cdc.change_log import PACK_BYTES, PACK_ENTRIES, ChangeLog
from cdc.errors import ChangeLogLostError, LeaseLostError, TransientError
from cdc.lease import Lease, is_gone
from cdc.loop_guard import GuardRecord, LoopGuard
from cdc.model import ApplyRecord, Change, Entry, Layout, Position
from cdc.redis_connection import Keys, RedisAddress
from tests.waiting import await_that

LAYOUT = Layout("m", "member", ("nickname",))


def entry(order, end=1, value="x"):
    return Entry(
        "a", order, 0, end, True, 1, 1, "", {"b": 3}, {}, (LAYOUT,), (Change(0, "insert", 0, ("k",), (value,)),)
    )


def checkpoint(order):
    return CaptureState("a", first_checkpoint(Position(order, f"p{order}"), "r")).checkpoint((order, 0), "r")


@pytest.fixture
def address(redis_db):
    return RedisAddress(redis_db.url())


@pytest.fixture
def change_log(address):
    log = ChangeLog(address, "coffee")
    yield log
    log.close()


@pytest.fixture
def lease(address):
    lease = Lease(address, "coffee", "capture.a")
    assert lease.acquire() is None
    yield lease
    lease.release()


def test_what_is_published_is_read_in_order_with_its_state(change_log, lease):
    last = change_log.start("a", lease.holder, checkpoint(10))
    last = change_log.publish("a", lease.holder, last, [entry(11), entry(12)], checkpoint(13), [])
    assert last == (12, 1)
    found = change_log.read({"a": (10, 0)}, 100, 0.05)
    assert [e for e, _ in found[0].entries] == [entry(11), entry(12)]
    published = change_log.published("a")
    assert (published.last, published.state.position.native) == ((12, 1), "p13")
    assert change_log.read({"a": (12, 1)}, 100, 0.01) == []


def test_a_publisher_that_does_not_know_the_streams_end_is_refused(change_log, lease):
    last = change_log.start("a", lease.holder, checkpoint(10))
    change_log.publish("a", lease.holder, last, [entry(11)], checkpoint(12), [])
    with pytest.raises(ChangeLogLostError):
        change_log.publish("a", lease.holder, last, [entry(13)], checkpoint(14), [])
    assert change_log.published("a").last == (11, 1)


def test_after_a_flush_nothing_is_appended_behind_the_gap(change_log, lease, redis_db):
    last = change_log.start("a", lease.holder, checkpoint(10))
    with redis_db.connect() as client:
        client.flushdb()
    with pytest.raises(LeaseLostError):
        change_log.publish("a", lease.holder, last, [entry(11)], checkpoint(12), [])
    assert lease.acquire() is None
    with pytest.raises(ChangeLogLostError):
        change_log.publish("a", lease.holder, last, [entry(11)], checkpoint(12), [])


def test_a_stream_that_alone_was_lost_is_noticed(change_log, lease, redis_db):
    last = change_log.start("a", lease.holder, checkpoint(10))
    with redis_db.connect() as client:
        client.delete(Keys("coffee").stream("a"))
    assert change_log.published("a") is None
    with pytest.raises(ChangeLogLostError):
        change_log.publish("a", lease.holder, last, [entry(11)], checkpoint(12), [])


def test_without_the_lease_nothing_is_published(change_log, lease):
    last = change_log.start("a", lease.holder, checkpoint(10))
    with pytest.raises(LeaseLostError):
        change_log.publish("a", "somebody else", last, [entry(11)], checkpoint(12), [])
    with pytest.raises(LeaseLostError):
        change_log.start("a", "somebody else", checkpoint(10))


def test_trimming_drops_what_all_have_and_an_empty_stream_goes_on(change_log, lease):
    last = change_log.start("a", lease.holder, checkpoint(10))
    last = change_log.publish(
        "a", lease.holder, last, [entry(11, value="y" * PACK_BYTES), entry(12)], checkpoint(13), []
    )
    full = change_log.measure("a").bytes
    change_log.trim("a", (11, 1))
    assert change_log.measure("a").bytes < full
    assert [e.order for e, _ in change_log.read({"a": (0, 0)}, 10, 0.01)[0].entries] == [12]
    change_log.trim("a", (12, 1))
    assert change_log.trimmed(["a"]) == {"a": (12, 1)}
    assert change_log.measure("a").bytes == 0
    assert change_log.publish("a", lease.holder, last, [entry(14)], checkpoint(15), []) == (14, 1)
    assert change_log.newest(["a", "nobody"]) == {"a": (14, 1)}


def test_small_entries_share_a_pack_and_a_reader_goes_on_within_it(change_log, lease, redis_db):
    last = change_log.start("a", lease.holder, checkpoint(10))
    entries = [entry(order, value="y" * 40) for order in range(11, 11 + 3 * PACK_ENTRIES)]
    change_log.publish("a", lease.holder, last, entries, checkpoint(5000), [])
    with redis_db.connect() as client:
        assert client.xlen(Keys("coffee").stream("a")) == 4
    for at in (0, 1, PACK_ENTRIES - 1, PACK_ENTRIES, 2 * PACK_ENTRIES + 5):
        (found,) = change_log.read({"a": (10 + at, 1 if at else 0)}, 100, 0.01)
        assert [e for e, _ in found.entries] == entries[at:]
    (found,) = change_log.read({"a": (12, 1)}, 2, 0.01)
    assert [e for e, _ in found.entries] == entries[2 : 2 * PACK_ENTRIES]
    assert found.packs == 2
    change_log.trim("a", (12, 1))
    assert [e for e, _ in change_log.read({"a": (12, 1)}, 100, 0.01)[0].entries] == entries[2:]


def test_a_pack_is_bounded_by_its_bytes(change_log, lease, redis_db):
    last = change_log.start("a", lease.holder, checkpoint(10))
    entries = [entry(order, value="y" * (PACK_BYTES // 5)) for order in range(11, 31)]
    change_log.publish("a", lease.holder, last, entries, checkpoint(50), [])
    with redis_db.connect() as client:
        packs = [fields[b"e"] for _, fields in client.xrange(Keys("coffee").stream("a"))]
    assert len(packs) == 6
    assert max(map(len, packs)) < PACK_BYTES * 1.1
    assert [e for e, _ in change_log.read({"a": (10, 0)}, 100, 0.01)[0].entries] == entries


def test_entries_that_stood_alone_before_there_were_packs_are_read(change_log, lease, redis_db):
    last = change_log.start("a", lease.holder, checkpoint(10))
    change_log.publish("a", lease.holder, last, [entry(11), entry(13)], checkpoint(14), [])
    with redis_db.connect() as client:
        stream = Keys("coffee").stream("a")
        client.delete(stream)
        client.xadd(stream, {"e": msgspec.msgpack.encode(entry(11)), "w": "0"}, id="11-1")
        client.xadd(stream, {"e": msgspec.msgpack.encode(entry(13)), "w": "0"}, id="13-1")
    last = change_log.publish("a", lease.holder, (13, 1), [entry(14), entry(15)], checkpoint(16), [])
    assert last == (15, 1)
    assert [e.order for e, _ in change_log.read({"a": (11, 1)}, 10, 0.01)[0].entries] == [13, 14, 15]


def test_a_pack_out_of_order_is_refused_and_nothing_of_it_is_appended(change_log, lease):
    last = change_log.start("a", lease.holder, checkpoint(10))
    for wrong in ([entry(11), entry(12), entry(12)], [entry(12), entry(11)], [entry(10, 0), entry(11)]):
        with pytest.raises(ValueError, match="does not come after"):
            change_log.publish("a", lease.holder, last, wrong, checkpoint(13), [])
    assert change_log.published("a").last == last


@pytest.mark.parametrize("under_way", [0, 3, 60])
def test_many_transactions_are_asked_about_at_once_whichever_way_is_shorter(address, under_way):
    guard = LoopGuard(address, "coffee", "a")
    try:
        guard.mark()
        record = GuardRecord("i", ApplyRecord("coffee", "a", 1, "t", 1, ()))
        for number in range(under_way):
            guard.register(str(number * 2), record)
        found = guard.recognise([str(number) for number in range(100)])
        assert found == {str(number * 2): record for number in range(min(under_way, 50))}
    finally:
        guard.close()


def test_publishing_removes_the_guards_records_that_are_passed(change_log, lease, address):
    guard = LoopGuard(address, "coffee", "a")
    record = GuardRecord("server", ApplyRecord("coffee", "a", 1, "t", 2, ()))
    fields = [str(n) for n in range(2500)]
    for name in fields[:3]:
        guard.register(name, record)
    last = change_log.start("a", lease.holder, checkpoint(10))
    assert guard.recognise(["0", "2", "77"]) == {"0": record, "2": record}
    change_log.publish("a", lease.holder, last, [entry(11)], checkpoint(12), [*fields[:2], *fields[3:]])
    assert set(guard.records()) == {"2"}
    guard.forget(["2"])
    assert guard.records() == {}
    guard.close()


def test_the_lease_has_one_holder_and_passes_on_when_given_back(address):
    first, second = Lease(address, "coffee", "apply.a"), Lease(address, "coffee", "apply.a")
    assert first.acquire() is None
    assert second.acquire() == first.holder
    first.release()
    assert second.acquire() is None
    second.check()
    second.release()


def test_a_holder_that_was_killed_on_this_machine_need_not_be_waited_for(address):
    code = """
import sys, time
from cdc.lease import Lease, is_gone
from cdc.redis_connection import RedisAddress
assert Lease(RedisAddress(sys.argv[1]), "coffee", "apply.a").acquire() is None
print("held", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, address.url], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        lease = Lease(address, "coffee", "apply.a")
        held = lease.acquire()
        assert held is not None
        assert not is_gone(held)
        other.kill()
        other.wait()
        assert is_gone(held)
        assert lease.acquire() is None
        lease.release()


def test_of_a_holder_elsewhere_nothing_is_concluded():
    assert not is_gone("host:elsewhere0000:1:1:ab")
    assert not is_gone("host:1:ab")
    assert not is_gone("")


def test_a_lease_that_somebody_else_took_is_noticed(address, redis_db):
    lease = Lease(address, "coffee", "apply.a")
    assert lease.acquire() is None
    with redis_db.connect() as client:
        client.set(Keys("coffee").lease("apply.a"), "other:1:x")

    def lost():
        try:
            lease.check()
        except LeaseLostError as error:
            return str(error)
        return None

    assert "other:1:x" in await_that(lost, message="the renewal notices")
    lease.release()


def test_a_redis_that_is_away_is_a_transient_error_without_the_password():
    log = ChangeLog(RedisAddress("redis://:s3cret@127.0.0.1:1/0"), "coffee")
    with pytest.raises(TransientError) as caught:
        log.published("a")
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in str(caught.value) + repr(RedisAddress("redis://:s3cret@127.0.0.1:1/0"))
    log.close()
