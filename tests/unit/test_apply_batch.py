"""A batch writes, parks or passes over every change; nothing overtakes a parked change of its key."""

import pytest

from cdc.apply.batch import BatchMaker, moves
from cdc.apply.encoding import Encoder
from cdc.apply.parking import ParkedKeys, pack_row, parked_change, parked_row, unpack_row
from cdc.apply.release import hanging_together
from cdc.errors import HaltError
from cdc.model import Change, Entry, Layout
from sinks.contract import Progress, Rejection
from transforms import compile_mapping
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec
from transforms.tables import Column, ColumnType, Table

MEMBER = EntitySpec(
    "member", ("id",), (FieldSpec("id", "integer"), FieldSpec("nickname", "text"), FieldSpec("level", "integer"))
)
TABLE = Table(
    "public", "users",
    (Column("uid", ColumnType("postgresql", "int8"), nullable=False), Column("nick", ColumnType("postgresql", "varchar", length=5)),
     Column("level", ColumnType("postgresql", "int2"))),
    ("uid",),
)  # fmt: skip
FULL = Layout("web.members", "member", ("id", "nickname", "level"))
NICK = Layout("web.members", "member", ("nickname",))
KEY = Layout("web.members", "member", ("id",))
GONE = Layout("web.members", "member", ())
OTHER = Layout("web.orders", "order", ("no",))


def maker(waiting=(), on_error="park"):
    columns = tuple(ColumnSpec(c, f) for c, f in (("uid", "id"), ("nick", "nickname"), ("level", "level")))
    spec = MappingSpec(
        "mini.users", "mini", "postgresql", None, "users", MEMBER, "both", columns, ("uid",), on_error=on_error
    )
    keys = ParkedKeys(waiting)
    return BatchMaker("coffee", Encoder([compile_mapping(spec, TABLE, capture=True, apply=True)]), keys), keys


def entry(*changes, order=5, first=0, end=9, last=True, layouts=(FULL, NICK, KEY, GONE, OTHER)):
    return Entry("web", order, first, end, last, 1, 7, "t", {}, {}, layouts, changes)


def test_each_kind_of_change_becomes_its_write():
    it, _ = maker()
    batch = it.make([entry(
        Change(0, "insert", 0, (1,), (1, "a", 2)), Change(1, "update", 1, (1,), ("b",)),
        Change(2, "update", 2, (1,), (9,)), Change(3, "delete", 3, (9,), ()),
    )], {})  # fmt: skip
    assert [(w.op, w.key_columns, w.key, w.columns, w.values) for w in batch.writes] == [
        ("insert", ("uid",), (1,), ("uid", "nick", "level"), (1, "a", 2)),
        ("update", ("uid",), (1,), ("nick",), ("b",)),
        ("update", ("uid",), (1,), ("uid",), (9,)),
        ("delete", ("uid",), (9,), (), ()),
    ]
    assert batch.written == batch.reached == {"web": Progress(5, 9, complete=True, hlc=7)}


def test_what_is_not_mapped_here_moves_progress_only():
    it, _ = maker()
    batch = it.make([entry(Change(4, "insert", 0, ("x",), ("x",)))], {})
    assert batch.empty
    assert batch.written["web"].order == 5


def test_a_heartbeat_is_never_to_be_written_down():
    it, _ = maker()
    batch = it.make([entry(end=0)], {})
    assert (batch.written, batch.reached["web"].end) == ({}, 0)


def test_rows_that_are_applied_already_are_left_out():
    it, _ = maker()
    rows = [Change(0, "insert", n, (n,), (n, "a", 2)) for n in range(6)]
    batch = it.make([entry(*rows, end=6)], {"web": Progress(5, 4, complete=False, hlc=1)})
    assert [w.key for w in batch.writes] == [(4,), (5,)]


def test_what_the_column_cannot_hold_is_parked_and_its_later_changes_wait():
    it, _ = maker()
    batch = it.make([entry(
        Change(0, "insert", 0, (1,), (1, "much too long", 2)), Change(0, "insert", 1, (2,), (2, "ok", 2)),
        Change(1, "update", 2, (1,), ("b",)), Change(0, "insert", 3, (3,), (3, "c", 99_999)),
    )], {})  # fmt: skip
    assert [w.key for w in batch.writes] == [(2,)]
    assert [(row.index, row.reason) for row in batch.parked] == [(0, "refused"), (2, "waiting"), (3, "refused")]
    assert "much too long" not in batch.parked[0].error


def test_a_change_refused_at_its_source_is_parked_with_that_reason():
    it, _ = maker()
    batch = it.make([entry(Change(3, "insert", 0, (1,), (), (), "born: 0000-00-00 is not a date"))], {})
    assert [(row.reason, "0000-00-00" in row.error) for row in batch.parked] == [("refused", True)]


def test_nothing_overtakes_a_change_that_is_parked_from_before():
    first = parked_row(
        "coffee", entry(order=1), FULL, Change(0, "insert", 0, (1,), (1, "a", 2)), ("id",), "rejected", "why"
    )
    it, keys = maker([first])
    assert len(keys) == 1
    batch = it.make(
        [
            entry(
                Change(1, "update", 0, (1,), ("b",)),
                Change(1, "update", 1, (2,), ("b",)),
                Change(2, "update", 2, (7,), (1,)),
            )
        ],
        {},
    )
    assert [w.key for w in batch.writes] == [(2,)]
    assert [row.reason for row in batch.parked] == ["waiting", "waiting"]


def test_a_parked_move_holds_the_place_that_it_moves_to():
    first = parked_row("coffee", entry(order=1), KEY, Change(0, "update", 0, (1,), (2,)), ("id",), "rejected", "why")
    assert first.keys == ["member/[1]", "member/[2]"]
    it, keys = maker([first])
    batch = it.make([entry(Change(3, "delete", 0, (2,), ()))], {})
    assert [row.reason for row in batch.parked] == ["waiting"]
    keys.remove([first])
    assert len(keys) == 0


def test_parked_changes_that_share_a_key_are_released_together_in_order():
    rows = [
        parked_row("coffee", entry(order=n), layout, change, ("id",), "rejected", "why")
        for n, (layout, change) in enumerate([
            (KEY, Change(0, "update", 0, (1,), (2,))), (GONE, Change(0, "delete", 0, (7,), ())),
            (GONE, Change(0, "delete", 0, (2,), ())), (NICK, Change(0, "update", 0, (1,), ("x",))),
        ])
    ]  # fmt: skip
    (group,) = hanging_together(rows, ["member/[2]"])
    assert [row.order for row in group] == [0, 2, 3]
    assert len(hanging_together(rows, [key for row in rows for key in row.keys])) == 2


def test_a_parked_change_can_be_read_back():
    change = Change(1, "update", 4, (1,), ("b",), ("a",))
    row = parked_row("coffee", entry(order=8), NICK, change, ("id",), "rejected", "why")
    assert row.id == "web-8-4-member"
    kept = parked_change(row)
    assert (kept.layout, kept.change, kept.transaction) == (NICK, change, "t")


def test_rejections_of_the_sink_are_parked_by_their_ref():
    it, _ = maker()
    batch = it.make([entry(Change(0, "insert", 0, (1,), (1, "a", 2)), Change(0, "insert", 1, (2,), (2, "b", 2)))], {})
    (row,) = it.park(batch, [Rejection(1, "rejected", "duplicate key", "23505")])
    assert (row.key_text, row.reason, row.error) == ("member/[2]", "rejected", "duplicate key")


def test_on_error_halt_names_mapping_and_reason():
    it, _ = maker(on_error="halt")
    with pytest.raises(HaltError, match=r"mini\.users.*level"):
        it.make([entry(Change(0, "insert", 0, (1,), (1, "a", 99_999)))], {})


def test_who_is_in_the_way_is_kept_with_the_record_and_masked_in_a_halt():
    taken = ("unique key uq_email (email) is held by row id=4711",)
    refusal = Rejection(0, "rejected", "duplicate key", "23505", taken)
    it, _ = maker()
    (row,) = it.park(it.make([entry(Change(0, "insert", 0, (1,), (1, "a", 2)))], {}), [refusal])
    assert (row.error, row.taken) == ("duplicate key", taken)
    assert unpack_row(pack_row(row)) == row
    it, _ = maker(on_error="halt")
    batch = it.make([entry(Change(0, "insert", 0, (1,), (1, "a", 2)))], {})
    with pytest.raises(HaltError, match=r"uq_email \(email\) is held by row \*\*\*") as caught:
        it.park(batch, [refusal])
    assert "4711" not in str(caught.value)


def test_moves_name_what_is_known_and_leave_out_what_stays():
    known = {"a": Progress(1, 1, complete=True, hlc=1), "b": Progress(2, 1, complete=True, hlc=1)}
    now = {"a": known["a"], "b": Progress(3, 1, complete=True, hlc=2), "c": Progress(9, 1, complete=True, hlc=3)}
    assert [(m.source, m.known, m.now.order) for m in moves(known, now)] == [("b", known["b"], 3), ("c", None, 9)]


def test_what_waits_is_as_old_as_it_came_whoever_refused_it(monkeypatch):
    """A retry goes by age: the sink tells of what it refused only after what could not even be encoded was parked."""
    it, keys = maker()
    changes = [
        Change(0, "insert", 0, (1,), (1, "a", 2)), Change(1, "update", 1, (1,), ("far too long",)), Change(1, "update", 2, (1,), ("b",)),
    ]  # fmt: skip
    batch = it.make([entry(*changes), entry(Change(1, "update", 0, (1,), ("c",)), order=4)], {})
    refused = it.park(batch, [Rejection(0, "rejected", "duplicate key", "23505")])
    oldest_first = sorted([*batch.parked, *refused], key=lambda row: row.since)
    assert [(row.order, row.index) for row in oldest_first] == [(5, 0), (5, 1), (5, 2), (4, 0)]
    several = it.park(
        batch, [Rejection(3, "waiting", "", ""), Rejection(0, "rejected", "first", ""), Rejection(0, "", "", "")]
    )
    assert [(row.order, row.error) for row in several] == [(5, "first"), (4, "")]
    assert several[0].since < several[1].since
    keys.add([*batch.parked, *refused])
    monkeypatch.setattr("time.time_ns", lambda: 0)  # somebody set the clock back
    later = it.make([entry(Change(1, "update", 0, (1,), ("d",)), order=9)], {}).parked
    assert later[0].since > oldest_first[-1].since
