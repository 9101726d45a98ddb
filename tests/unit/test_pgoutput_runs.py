"""Rows decoded together, column by column: never another outcome than reading them one by one has."""

from __future__ import annotations

import random
import secrets

from cdc.errors import HaltError
from cdc.model import LogPart
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput_rows import INLINE, RowDecoder
from cdc.readers.pgoutput_runs import Row
from cdc.readers.postgresql_values import DECODERS
from tests.unit import pgoutput_frames as frames
from tests.unit.test_pgoutput import VALUES
from tests.unit.test_pgoutput_transactions import OTHER, RELATIONS, Stream, T, parked_values, progress

TEXTS: tuple[frames.Cell, ...] = (b"", b"v", b"t", b"ttt", "表t".encode(), b"n", b"a" * 116, b"a" * 300, None)


def _seeded() -> random.Random:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


def _transactions(rng: random.Random, count: int) -> list[bytes]:
    """As a server sends them: mostly small ones of a mapped table, sometimes long, our own, of other tables, or announced anew."""
    found: list[bytes] = []
    place = 100
    kinds = rng.sample(range(6), rng.choice((1, 1, 2, 6)))
    odd = rng.choice((0.0, 0.0, 0.05, 0.5))
    for _ in range(count):
        found.append(frames.begin(place, xid=place % 97, at=place))
        kind = rng.random()
        if kind < 0.1:
            found.append(progress("s"))
        elif kind < 0.15:
            found.append(frames.insert(4, parked_values()))
        rows = range(rng.choice((0, 1, 1, 1, 2, 10, 40, 130)))
        found += [
            _row(rng, rng.choice(kinds), odd) if rng.random() > odd / 5 else frames.insert(OTHER, [b"1"]) for _ in rows
        ]
        if rng.random() < odd:
            found.append(RELATIONS[0])
        found.append(frames.commit(place, place + 20, at=place))
        if rng.random() < odd:
            found.append(frames.keepalive(place + 20))
        place += rng.randrange(20, 60)
    return found


def _row(rng: random.Random, kind: int, odd: float) -> bytes:
    new: list[frames.Cell] = [str(rng.randrange(10**9)).encode(), rng.choice(TEXTS) if rng.random() < odd else b"v"]
    old: list[frames.Cell] = [rng.choice((new[0], b"7")), rng.choice((new[1], b"w"))]
    match kind:
        case 0:
            return frames.insert(T, new)
        case 1:
            return frames.update(T, new, old=old)
        case 2:
            return frames.update(T, new)
        case 3:
            return frames.update(T, [new[0], frames.UNCHANGED], old=old)
        case 4:
            return frames.delete(T, old)
    return frames.delete(T, [old[0], None], kind="K")


def _outcome(items: list[bytes], sizes: random.Random | None) -> tuple[list[LogPart], int, list[str], str]:
    stream = Stream(part_rows=50)
    parts: list[LogPart] = []
    failure = ""
    try:
        at = 0
        while at < len(items):
            step = sizes.choice((1, 5, 50, 500)) if sizes is not None else 1
            stream.transactions.feed(items[at : at + step])
            at += step
            while stream.transactions.full:
                parts += stream.parts()
                stream.transactions.feed()
    except HaltError as error:
        failure = f"{error.code} {error}"
    notices = [notice.text for notice in stream.notices]
    return parts + stream.parts(), stream.transactions.reached, notices, failure


def test_frames_fed_together_come_out_as_frames_fed_one_by_one() -> None:
    rng = _seeded()
    rows = 0
    for _ in range(12):
        items = _transactions(rng, 60)
        singly = _outcome(items, None)
        assert _outcome(items, rng) == singly
        rows += sum(len(part.rows) for part in singly[0])
    assert rows > 3000


def test_bent_frames_fed_together_fail_where_they_fail_one_by_one() -> None:
    rng = _seeded()
    failed = 0
    for _ in range(150):
        items = _transactions(rng, 5)
        number = rng.randrange(len(items))
        bent = bytearray(items[number])
        if rng.random() < 0.3:
            del bent[rng.randrange(min(25, len(bent) - 1), len(bent)) :]
        else:
            bent[rng.randrange(min(25, len(bent) - 1), len(bent))] ^= 1 << rng.randrange(8)
        items[number] = bytes(bent)
        singly = _outcome(items, None)
        assert _outcome(items, rng) == singly
        failed += bool(singly[3])
    assert failed > 25


def test_whole_columns_say_what_single_values_say() -> None:
    rng = _seeded()
    together = 0
    for _ in range(600):
        names = [rng.choice(sorted(VALUES)) for _ in range(rng.randrange(1, 6))]
        columns = [(f"c{i}", 25) for i in range(len(names))]
        relation = pg.read_relation(frames.relation(9, "public", "t", columns, identity="f"))
        decoders = [DECODERS[name] if rng.random() < 0.8 else None for name in names]
        rows = RowDecoder(relation, decoders, [INLINE.get(name) for name in names])
        nulls = rng.choice((0.0, 0.05))
        values = [rng.sample(VALUES[name], 2) if rng.random() < 0.3 else VALUES[name][:2] for name in names]

        def cells(values: list[list[bytes]] = values, nulls: float = nulls) -> list[frames.Cell]:
            return [None if rng.random() < nulls else rng.choice(some) for some in values]

        kind = rng.choice((pg.INSERT, pg.UPDATE, pg.DELETE))
        old = rng.random() < 0.7
        made = [
            frames.insert(9, cells()) if kind == pg.INSERT else frames.delete(9, cells()) if kind == pg.DELETE
            else frames.update(9, cells(), old=cells() if old else None)
            for _ in range(rng.randrange(1, 30))
        ]  # fmt: skip
        found = rows.runs.read(kind, made)
        if found is None:
            continue
        together += 1
        expected: list[tuple[Row | None, Row | None]] = [rows.row(kind, frame) for frame in made]
        said = [pair for pair, _ in zip(zip(*found, strict=False), made, strict=True)]
        assert list(map(repr, said)) == list(map(repr, expected))
    assert together > 100


def test_the_usual_rows_are_read_together() -> None:
    """Else all else here would hold, slowly."""
    relation = pg.read_relation(frames.relation(9, "public", "t", [("id", 20), ("v", 25)], identity="f"))
    rows = RowDecoder(relation, [DECODERS["int8"], DECODERS["text"]], [INLINE["int8"], INLINE["text"]])
    new: list[list[frames.Cell]] = [[b"1", b"t"], [b"2", None], [b"3", b"x" * 300], [b"4", b""], [b"5", "表".encode()]]
    inserts = rows.runs.read(
        pg.INSERT, [frames.insert(9, new[0]), frames.insert(9, new[1]), *[frames.insert(9, new[3])] * 3]
    )
    assert inserts is not None
    assert list(inserts[1])[:3] == [(1, "t"), (2, None), (4, "")]
    updates = rows.runs.read(pg.UPDATE, [frames.update(9, new[4], old=new[0])] * 2)
    assert updates is not None
    assert list(updates[0]) == [(1, "t")] * 2
    assert list(updates[1]) == [(5, "表")] * 2
