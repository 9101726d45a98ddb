"""Frames -> parts of transactions: borders, own transactions, parked keys, and refusals by name and place."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from cdc.errors import HaltError, TransientError
from cdc.model import ApplyRecord, LogPart, ParkedKey, ProgressRow
from cdc.readers import Notice, Wanted
from cdc.readers.postgresql_catalog import TypeFacts
from cdc.readers.postgresql_position import NativePosition
from cdc.readers.postgresql_records import TABLES_OF_OURS
from cdc.readers.postgresql_relations import Relations
from cdc.readers.postgresql_spool import Spool
from cdc.readers.postgresql_transactions import Transactions
from sinks.bookkeeping import PARKED_COLUMNS, PROGRESS_COLUMNS, record_text
from sinks.contract import Progress, ProgressMove, TransactionHeader
from tests.unit import pgoutput_frames as frames
from transforms.values import ABSENT

INT, TEXT, POINT, MOOD = 23, 25, 600, 90_000
T, OTHER, PROGRESS, PARKED = 1, 2, 3, 4


RELATIONS = (
    frames.relation(T, "public", "t", [("id", INT), ("v", TEXT)], keys=["id"]),
    frames.relation(OTHER, "public", "other", [("id", INT)], keys=["id"]),
    frames.relation(
        PROGRESS, "public", "datong_progress",
        [(c, TEXT if c in {"deployment", "target", "source", "token"} else INT) for c in PROGRESS_COLUMNS],
    ),
    frames.relation(PARKED, "public", "datong_parked", [(c, TEXT) for c in PARKED_COLUMNS], identity="f"),
)  # fmt: skip


class Types:
    """What a catalog would know; `labels` may grow, as by ALTER TYPE."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ("sad",)
        self.asked = 0

    def types(self, oids: Collection[int]) -> Mapping[int, TypeFacts]:
        known = {
            INT: TypeFacts("int8", "b", "int8", "b", -1, ()),
            TEXT: TypeFacts("text", "b", "text", "b", -1, ()),
            POINT: TypeFacts("point", "b", "point", "b", -1, ()),
            MOOD: TypeFacts("mood", "e", "mood", "e", -1, self.labels),
        }
        return {oid: known[oid] for oid in oids if oid in known}

    def forget_types(self) -> None:
        self.asked += 1


class Stream:
    def __init__(
        self,
        *,
        part_rows: int = 100,
        part_bytes: int = 1 << 20,
        mapped: Collection[str] = ("id", "v"),
        announce: bool = True,
        ignore_truncate: bool = False,
        spill_after: int = 1 << 20,
        folder: Path | None = None,
    ) -> None:
        tables = {("public", "t"): frozenset(mapped)}
        ignored = frozenset(tables) if ignore_truncate else frozenset[tuple[str, str]]()
        wanted = Wanted("dep", "chan", tables, part_rows=part_rows, part_bytes=part_bytes, ignore_truncate=ignored)
        self.notices: list[Notice] = []
        self.types = Types()
        self.probed: list[str] = []
        relations = Relations({**wanted.tables, **TABLES_OF_OURS}, self.types, self.notices)
        native = NativePosition("0/0", "1", 1, "datong_dep_chan")
        self.transactions = Transactions(
            wanted,
            relations,
            native,
            10,
            self.notices,
            self.probed.append,
            Spool(relations.wanted, folder, spill_after),
        )
        if not announce:
            return
        self.feed(*RELATIONS)

    def feed(self, *items: bytes) -> None:
        for item in items:
            self.transactions.feed([item])

    def parts(self) -> list[LogPart]:
        return self.transactions.take(caught_up=True).parts


def row(number: int) -> bytes:
    return frames.insert(T, [str(number).encode(), b"v"])


def progress(source: str, *, deployment: str = "dep", target: str = "chan", position: int = 50) -> bytes:
    values = [deployment, target, source, position, 3, 1, 99, 7, "tok", 2]
    return frames.insert(PROGRESS, [str(value).encode() for value in values])


def parked_values(key: str = "k1", deployment: str = "dep") -> list[frames.Cell]:
    named = {"deployment": deployment, "target": "chan", "id": key, "entity": "order", "key_text": 'order/["1"]'}
    return [named.get(column, "0").encode() for column in PARKED_COLUMNS]


def test_every_row_message_counts_and_only_wanted_rows_are_decoded() -> None:
    stream = Stream()
    stream.feed(frames.begin(100, xid=5), frames.insert(OTHER, [b"1"]), row(1), frames.insert(OTHER, [b"2"]), row(2))
    assert stream.parts() == []
    stream.feed(frames.commit(100, 120))
    (part,) = stream.parts()
    assert (part.order, part.first, part.end, part.last, part.identity) == (100, 0, 4, True, "5")
    assert part.transaction == "5/0/64"
    assert [change.index for change in part.rows] == [1, 3]
    assert part.resume.order == 120 == stream.transactions.reached
    assert stream.probed == ["reader.mid_tx", "reader.after_event"]


def test_a_transaction_of_other_tables_only_moves_what_is_reached() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), frames.insert(OTHER, [b"1"]), frames.commit(100, 120))
    assert stream.parts() == []
    assert stream.transactions.reached == 120


def test_parts_are_bounded_by_rows_and_the_last_is_never_empty() -> None:
    stream = Stream(part_rows=2)
    stream.feed(frames.begin(100), *(row(n) for n in range(4)))
    (first,) = stream.parts()
    assert (first.first, first.end, first.last, first.resume.order) == (0, 2, False, 10)
    stream.feed(frames.commit(100, 120))
    (second,) = stream.parts()
    assert (second.first, second.end, second.last, second.resume.order) == (2, 4, True, 120)
    assert [change.index for change in second.rows] == [2, 3]


def test_parts_are_bounded_by_bytes() -> None:
    stream = Stream(part_bytes=1)
    stream.feed(frames.begin(100), row(1), row(2), frames.commit(100, 120))
    assert [(part.first, part.end, part.last) for part in stream.parts()] == [(0, 1, False), (1, 2, True)]


def test_a_batch_is_full_after_about_a_thousand_rows() -> None:
    stream = Stream(part_rows=5000)
    stream.feed(frames.begin(100), *(row(n) for n in range(1500)))
    full = [stream.transactions.full]
    stream.feed(frames.commit(100, 120))
    full.append(stream.transactions.full)
    assert len(stream.parts()[0].rows) == 1500
    full.append(stream.transactions.full)
    assert full == [False, True, False]


def test_a_keepalive_moves_on_only_between_transactions() -> None:
    stream = Stream()
    stream.feed(frames.keepalive(50))
    assert stream.transactions.reached == 50
    stream.feed(frames.begin(100), frames.keepalive(400))
    assert stream.transactions.reached == 50
    stream.feed(frames.commit(100, 120), frames.keepalive(90))
    assert stream.transactions.reached == 120


def test_an_apply_transaction_of_ours_is_recognised_by_its_first_rows() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), progress(""), progress("web"), progress("crm", position=60), row(1), row(2))
    stream.feed(frames.commit(100, 120))
    (part,) = stream.parts()
    lines = (ProgressRow("web", 50, 3, True, 99), ProgressRow("crm", 60, 3, True, 99))
    assert part.record == ApplyRecord("dep", "chan", 7, "tok", 2, lines)
    assert (part.rows, part.echo_rows, part.end) == ([], 2, 5)


def test_the_lease_line_alone_makes_a_record_without_progress() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), progress(""), frames.commit(100, 120))
    assert stream.parts()[0].record == ApplyRecord("dep", "chan", 7, "tok", 2, ())


@pytest.mark.parametrize(("deployment", "target"), [("other", "chan"), ("dep", "elsewhere")])
def test_an_apply_of_another_deployment_or_target_is_a_users_transaction(deployment: str, target: str) -> None:
    stream = Stream()
    stream.feed(
        frames.begin(100), progress("web", deployment=deployment, target=target), row(1), frames.commit(100, 120)
    )
    (part,) = stream.parts()
    assert part.record is None
    assert len(part.rows) == 1


def test_a_progress_row_after_other_rows_marks_nothing_and_is_said() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), row(1), progress("web"), frames.commit(100, 120))
    batch = stream.transactions.take(caught_up=True)
    assert batch.parts[0].record is None
    assert [notice.event for notice in batch.notices] == ["record_out_of_place"]


def test_a_logical_message_of_ours_is_an_apply_record() -> None:
    move = ProgressMove("web", None, Progress(50, 3, False, 99))
    text = record_text(TransactionHeader("dep", "chan", 7, "tok", 1, (move,))).encode()
    stream = Stream()
    stream.feed(frames.begin(100), frames.logical_message("datong", text), row(1), frames.commit(100, 120))
    (part,) = stream.parts()
    assert part.record == ApplyRecord("dep", "chan", 7, "tok", 1, (ProgressRow("web", 50, 3, False, 99),))
    assert part.echo_rows == 1


def test_messages_of_others_mark_nothing() -> None:
    foreign = record_text(TransactionHeader("other", "chan", 7, "tok", 1, ())).encode()
    stream = Stream()
    stream.feed(
        frames.begin(100),
        frames.logical_message("datong", foreign),
        frames.logical_message("datong", b"\xff nonsense"),
        frames.logical_message("app", b"x"),
        row(1),
        frames.commit(100, 120),
    )
    stream.feed(frames.logical_message("datong", b"[]", transactional=False))
    batch = stream.transactions.take(caught_up=True)
    assert batch.parts[0].record is None
    assert [notice.event for notice in batch.notices] == ["foreign_message"]


def test_parked_keys_come_and_go() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), progress("web"), frames.insert(PARKED, parked_values()))
    stream.feed(frames.delete(PARKED, parked_values("k0")), frames.insert(PARKED, parked_values("x", "other")))
    stream.feed(frames.commit(100, 120))
    (part,) = stream.parts()
    assert part.parked == (
        ParkedKey("k1", "order", 'order/["1"]', True),
        ParkedKey("k0", "order", 'order/["1"]', False),
    )
    assert part.echo_rows == 0


def test_an_alter_gives_a_new_table_and_the_same_layout_the_same_object() -> None:
    stream = Stream()
    stream.feed(frames.begin(100), row(1), frames.commit(100, 110))
    again = frames.relation(T, "public", "t", [("id", INT), ("v", TEXT)], keys=["id"])
    stream.feed(frames.begin(200), again, row(2), frames.commit(200, 210))
    wider = frames.relation(T, "public", "t", [("id", INT), ("extra", TEXT), ("v", TEXT)], keys=["id"])
    stream.feed(frames.begin(300), wider, frames.insert(T, [b"3", b"x", b"v"]), frames.commit(300, 310))
    batch = stream.transactions.take(caught_up=True)
    first, second, third = (part.rows[0] for part in batch.parts)
    assert first.table is second.table
    assert [column.name for column in third.table.columns] == ["id", "extra", "v"]
    assert third.after is not None
    assert (third.after[0], third.after[2]) == (3, "v")
    assert [notice.event for notice in batch.notices] == ["column_new"]


def test_a_mapped_column_that_goes_halts_at_that_place() -> None:
    stream = Stream()
    stream.feed(frames.begin(0x300))
    with pytest.raises(HaltError, match=r"SCHEMA_CHANGED: table public\.t has no column v at 0/300"):
        stream.feed(frames.relation(T, "public", "t", [("id", INT)], keys=["id"]))


def test_a_mapped_column_of_a_type_that_cannot_be_read_halts_and_an_unmapped_one_is_passed_over() -> None:
    columns = [("id", INT), ("v", TEXT), ("place", POINT), ("gone", 7777)]
    announced = frames.relation(T, "public", "t", columns, keys=["id"])
    stream = Stream()
    stream.feed(announced, frames.begin(100), frames.insert(T, [b"1", b"v", b"(1,2)", b"?"]), frames.commit(100, 120))
    assert stream.parts()[0].rows[0].after == (1, "v", ABSENT, ABSENT)
    for column, shown in (("place", "point"), ("gone", "oid 7777")):
        with pytest.raises(HaltError, match=rf"UNSUPPORTED_TYPE: column public\.t\.{column} is of type {shown}"):
            Stream(mapped=("id", column), announce=False).feed(announced)


def test_an_enum_label_that_was_added_later_renews_the_layout() -> None:
    stream = Stream()
    stream.feed(frames.relation(T, "public", "t", [("id", INT), ("v", MOOD)], keys=["id"]))
    stream.types.labels = ("sad", "happy")
    stream.feed(frames.begin(100), frames.insert(T, [b"1", b"happy"]), frames.insert(T, [b"2", b"renamed since"]))
    stream.feed(frames.commit(100, 110))
    first, second = stream.parts()[0].rows
    assert first.table.columns[1].type.labels == ("sad", "happy")
    assert first.after == (1, "happy")
    assert second.after == (2, "renamed since")
    assert stream.types.asked == 2


def test_a_truncate_halts_at_its_place_or_is_said_where_it_is_to_be_ignored() -> None:
    stream = Stream(ignore_truncate=True)
    stream.feed(frames.begin(100), frames.truncate(T, OTHER), frames.commit(100, 120))
    batch = stream.transactions.take(caught_up=True)
    assert batch.parts == []
    assert [(notice.event, notice.order) for notice in batch.notices] == [("truncate_seen", 100)]
    stream = Stream()
    stream.feed(frames.begin(100), frames.truncate(OTHER, PROGRESS), frames.commit(100, 120), frames.begin(0x200))
    with pytest.raises(HaltError, match=r"TRUNCATED: table public\.t was truncated at 0/200, .*on_truncate: ignore"):
        stream.feed(frames.truncate(T))


# --- streamed while they are open -----------------------------------------------------------------------------------


def shown(parts: list[LogPart]) -> list[object]:
    return [
        (p.order, p.first, p.end, p.last, p.committed_at, p.identity, p.transaction, p.resume, p.record, p.echo_rows, p.parked,
         [(row.op, row.index, row.before, row.after) for row in p.rows])
        for p in parts
    ]  # fmt: skip


@pytest.mark.parametrize("spill_after", [0, 1 << 20], ids=["on disk", "in memory"])
def test_a_streamed_transaction_gives_the_same_parts_as_a_plain_one(spill_after: int) -> None:
    kept = [row(1), frames.insert(OTHER, [b"9"]), row(2), frames.update(T, [b"2", b"w"], old=[b"2", b"v"]), row(4)]
    plain = Stream(part_rows=2)
    plain.feed(
        frames.begin(100, xid=7, at=5), *kept, frames.delete(T, [b"4", None], kind="K"), frames.commit(100, 120, at=5)
    )
    streamed = Stream(part_rows=2, spill_after=spill_after)
    streamed.feed(
        *frames.block(7, *RELATIONS, *kept[:2]),
        *frames.block(7, row(66), frames.insert(OTHER, [b"66"]), first=False, subxid=8),
        frames.keepalive(50),
        *frames.block(7, *kept[2:], first=False, subxid=9),
        *frames.block(7, row(67), first=False, subxid=10),
        frames.stream_abort(7, 8), frames.stream_abort(7, 10),
        *frames.block(7, frames.delete(T, [b"4", None], kind="K"), first=False),
    )  # fmt: skip
    assert streamed.transactions.reached == 50
    assert not streamed.transactions.in_transaction
    assert bool(streamed.transactions.spilled_bytes) == (spill_after == 0)
    plain_resume = plain.parts()
    streamed.feed(frames.stream_commit(7, 100, 120, at=5))
    parts = streamed.parts()
    for part in plain_resume[:-1]:
        part.resume = parts[0].resume  # where each was read from: the keep-alive's place for the streamed one
    assert shown(parts) == shown(plain_resume)
    assert [part.end for part in parts] == [3, 5, 6]
    assert streamed.transactions.reached == 120
    assert streamed.transactions.spilled_bytes == 0


def test_a_streamed_transaction_that_is_rolled_back_leaves_nothing() -> None:
    stream = Stream(spill_after=0)
    stream.feed(*frames.block(7, row(1)), frames.stream_abort(7, 7), frames.stream_abort(7, 7))
    assert stream.transactions.spilled_bytes == 0
    stream.feed(frames.begin(100), row(2), frames.commit(100, 120))
    assert [change.after for part in stream.parts() for change in part.rows] == [(2, "v")]


def test_others_commit_between_the_blocks_of_a_streamed_transaction() -> None:
    stream = Stream()
    stream.feed(*frames.block(7, row(1)), *frames.block(9, row(3)))
    stream.feed(frames.begin(100, xid=8), row(2), frames.commit(100, 120))
    stream.feed(
        frames.stream_commit(9, 130, 140), *frames.block(7, row(4), first=False), frames.stream_commit(7, 150, 160)
    )
    assert [(part.order, [change.after for change in part.rows]) for part in stream.parts()] == [
        (100, [(2, "v")]), (130, [(3, "v")]), (150, [(1, "v"), (4, "v")]),
    ]  # fmt: skip


def test_a_streamed_apply_transaction_of_ours_is_recognised() -> None:
    stream = Stream()
    stream.feed(*frames.block(7, progress("web"), frames.insert(PARKED, parked_values()), row(1)))
    stream.feed(*frames.block(7, row(2), first=False), frames.stream_commit(7, 100, 120))
    (part,) = stream.parts()
    assert part.record == ApplyRecord("dep", "chan", 7, "tok", 2, (ProgressRow("web", 50, 3, True, 99),))
    assert (part.rows, part.echo_rows, len(part.parked)) == ([], 2, 1)


def test_a_layout_of_a_rolled_back_subtransaction_is_none() -> None:
    stream = Stream()
    without_v = frames.relation(T, "public", "t", [("id", INT)], keys=["id"])
    stream.feed(*frames.block(7, RELATIONS[0], row(1)), *frames.block(7, without_v, first=False, subxid=8))
    stream.feed(frames.stream_abort(7, 8), *frames.block(7, RELATIONS[0], row(2), first=False))
    stream.feed(frames.stream_commit(7, 100, 120))
    assert [change.after for part in stream.parts() for change in part.rows] == [(1, "v"), (2, "v")]
    assert stream.notices == []


def test_a_large_streamed_transaction_is_read_back_batch_by_batch() -> None:
    stream = Stream(part_rows=1000, spill_after=10_000)
    for start in range(0, 12_000, 3000):
        stream.feed(*frames.block(7, *(row(n) for n in range(start, start + 3000)), first=start == 0))
    assert stream.transactions.spilled_bytes > 100_000
    stream.feed(frames.stream_commit(7, 100, 120))
    sizes = []
    while stream.transactions.is_reading_back:
        assert stream.transactions.in_transaction
        sizes.append(sum(len(part.rows) for part in stream.parts()))
        stream.transactions.feed([])
    sizes.append(sum(len(part.rows) for part in stream.parts()))
    assert sum(sizes) == 12_000
    assert max(sizes) == 1000
    assert stream.transactions.reached == 120


def test_what_cannot_be_held_is_transient_and_says_where(tmp_path: Path) -> None:
    stream = Stream(spill_after=0, folder=tmp_path / "nowhere")
    with pytest.raises(TransientError, match=r"cannot be held in .*nowhere: No such file .*make room"):
        stream.feed(*frames.block(7, row(1)))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([frames.data_frame(b"?\0\0")], r"UNSUPPORTED_EVENT.*'\?'.*0/A"),
        ([frames.data_frame(b"S\0\0")], "LOG_UNREADABLE.*STREAM START.*0/A"),
        ([frames.stream_stop()], "LOG_UNREADABLE.*outside"),
        ([frames.stream_start(7, first=False)], "LOG_UNREADABLE.*does not fit those before"),
        ([*frames.block(7), frames.stream_start(7)], "LOG_UNREADABLE.*does not fit those before"),
        ([frames.stream_start(7), frames.stream_start(8)], "LOG_UNREADABLE.*within a block"),
        ([frames.stream_start(7), frames.begin(100)], "LOG_UNREADABLE.*'B' within a block"),
        ([frames.begin(100), frames.stream_start(7)], "LOG_UNREADABLE.*inside of a transaction"),
        ([frames.stream_commit(7, 100, 120)], "LOG_UNREADABLE.*nothing was streamed"),
        ([*frames.block(7), frames.stream_commit(7, 120, 100)], "LOG_UNREADABLE.*ends before it begins"),
        (
            [*frames.block(7, frames.insert(999, [b"1"])), frames.stream_commit(7, 100, 120)],
            "LOG_UNREADABLE.*not announced.*0/64",
        ),
        ([b"x"], "LOG_UNREADABLE"),
        ([b""], "LOG_UNREADABLE"),
        ([row(1)], "LOG_UNREADABLE.*outside"),
        ([frames.begin(100), frames.begin(200)], "LOG_UNREADABLE.*BEGIN inside"),
        ([frames.begin(5)], "LOG_UNREADABLE.*commits before"),
        ([frames.begin(100), frames.commit(101, 120)], "LOG_UNREADABLE.*does not fit"),
        ([frames.begin(0x100), frames.insert(999, [b"1"])], "LOG_UNREADABLE.*not announced.*0/100"),
        ([frames.begin(100), frames.insert(T, [b"1"])], "LOG_UNREADABLE.*1 columns, not 2"),
    ],
)
def test_what_cannot_be_read_halts_with_a_name_and_a_place(items: list[bytes], said: str) -> None:
    stream = Stream()
    with pytest.raises(HaltError, match=said):
        stream.feed(*items)


def test_a_damaged_stream_halts_with_nothing_but_our_own_error() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    columns = [("id", INT), ("v", MOOD)]
    healthy = [
        frames.relation(T, "public", "t", columns, keys=["id"]),
        frames.begin(100), progress("web"), row(1), frames.insert(PARKED, parked_values()), frames.truncate(T),
        frames.logical_message("datong", b"[1]"), frames.delete(PARKED, parked_values()), frames.keepalive(90),
        frames.commit(100, 120), frames.begin(200), row(2), frames.update(T, [b"2", b"w"], old=[b"1", None], kind="K"),
        frames.commit(200, 220), *frames.block(9, RELATIONS[0], row(3), progress("crm")), *frames.block(9, row(4), first=False, subxid=10),
        frames.stream_abort(9, 10), *frames.block(11, row(5)), frames.stream_abort(11, 11), frames.stream_commit(9, 300, 320),
    ]  # fmt: skip
    deadline = time.monotonic() + 2
    halted = whole = 0
    while time.monotonic() < deadline or halted <= 10 or whole <= 2:
        stream = Stream(ignore_truncate=True, spill_after=rng.choice((0, 1000)))
        items = [bytearray(item) for item in healthy]
        for _ in range(rng.randrange(1, 4)):
            victim = rng.choice(items)
            if victim and rng.random() < 0.5:
                del victim[rng.randrange(len(victim)) :]
            elif victim:
                victim[rng.randrange(len(victim))] = rng.randrange(256)
        try:
            stream.feed(*map(bytes, items))
            whole += 1
        except HaltError:
            halted += 1
        finally:
            stream.transactions.close()
    assert halted > 10
    assert whole > 2
