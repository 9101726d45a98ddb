"""Bend recorded events at random and see that a reader answers with the engine's own error, and with nothing else.

`python -m tests.fuzz.bend mysql --seed 7 --seconds 60` runs alone, as a process whose memory and CPU are limited: an escaping
IndexError, a hang (2 s of CPU for some events), a large allocation (beyond 400 MB) are findings. Prints one JSON object: the seed, how many
inputs, what they came to, and every finding with the input in hexadecimal digits (kept in `found/` it becomes a regression case).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from cdc.errors import HaltError, TransientError
from cdc.model import Position
from cdc.readers import Wanted
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids
from cdc.readers.mysql_position import read_place
from cdc.readers.mysql_record import comment_record
from cdc.readers.pgoutput import lsn_number
from cdc.readers.postgresql_position import read_native
from sinks.bookkeeping import read_record_text
from tests.fuzz.replay import Corpus, load, sealed

CPU_SECONDS = 2.0
MEMORY = 400 << 20
GTID_KINDS = (33, 34, 42, 162)  # a transaction of a binlog begins with one of these
PLACE = re.compile(r"\w\.\d+|\d+/|[0-9A-F]+/[0-9A-F]+|127\.0\.0\.1")
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0xFE, 0xFC, 0xFD, 0xFB)
_WHOLE = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0", b"\xff\xff", b"\xff" * 8, b"\0\0\0\x10")


class Hang(BaseException):
    """No `except` of the product may swallow it."""


def bent(chance: random.Random, data: bytes, others: list[bytes], first: int) -> bytes:
    """One input after one to four random changes at or behind `first`."""
    body = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if len(body) <= first:
            return bytes(body)
        at = chance.randrange(first, len(body))
        match chance.randrange(8):
            case 0:
                body[at] ^= 1 << chance.randrange(8)
            case 1:
                body[at] = chance.choice(INTERESTING)
            case 2:
                body[at] = chance.randrange(256)
            case 3:
                whole = chance.choice(_WHOLE)
                body[at : at + len(whole)] = whole
            case 4:
                del body[at:]
            case 5:
                del body[at : at + chance.choice((1, 2, 4, 30))]
            case 6:
                body[at:at] = chance.randbytes(chance.choice((1, 4, 40)))
            case 7:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                body[at : at + chance.randrange(60)] = other[start : start + chance.randrange(60)]
    return bytes(body)


class Binlog:
    """Inputs of one corpus of binlog events: a file's head, then whole transactions, any one or two, or some that follow each other;
    one event or two of them bent."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._opening = corpus.opening()
        self._chunks: list[list[bytes]] = []
        for event in corpus.events[len(self._opening) :]:
            if event[4] in GTID_KINDS or not self._chunks:
                self._chunks.append([])
            self._chunks[-1].append(event)

    def input(self, chance: random.Random) -> list[bytes]:
        events = list(self._opening)
        if chance.random() < 0.5:
            first = chance.randrange(len(self._chunks))
            chosen = self._chunks[first : first + chance.randrange(2, 6)]
        else:
            chosen = [chance.choice(self._chunks) for _ in range(chance.choice((1, 1, 2)))]
        events += [event for chunk in chosen for event in chunk]
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(1 if len(events) > 1 else 0, len(events))
            self._change(chance, events, at)
        return events

    def _change(self, chance: random.Random, events: list[bytes], at: int) -> None:
        match chance.randrange(12):
            case 0:
                events[at] = bent(chance, events[at], list(self._corpus.events), 0)
            case 1:
                events[at] = sealed(events[at][:4] + bytes([chance.randrange(256)]) + events[at][5:])
            case 2:
                del events[at]
            case 3:
                events.insert(at, chance.choice(self._corpus.events))
            case _:
                body = bent(chance, events[at][:-4], [event[:-4] for event in self._corpus.events], 19)
                events[at] = sealed(body + bytes(4))


class Frames:
    """Inputs of a corpus of pgoutput frames: a transaction that announces every relation, with frames of it bent."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        data = [frame for frame in corpus.events if frame[:1] == b"w"]
        self._keepalives = [frame for frame in corpus.events if frame[:1] == b"k"]
        self._relations = [frame for frame in data if frame[25:26] == b"R"]
        self._chunks: list[list[bytes]] = []
        for frame in data:
            if frame[25:26] in (b"B", b"S") or not self._chunks:
                self._chunks.append([])
            self._chunks[-1].append(frame)

    def _announced(self, chance: random.Random, chosen: list[bytes]) -> list[bytes]:
        """One layout, any of those on the tape, of each relation of which there are rows: making one takes 10 ms."""
        rows = b"".join(frame[26:34] for frame in chosen)
        by_oid = {frame[26:30]: frame for frame in chance.sample(self._relations, len(self._relations))}
        return [frame for oid, frame in by_oid.items() if oid in rows]

    def input(self, chance: random.Random) -> list[bytes]:
        chosen = chance.choice(self._chunks)
        frames = [*chosen[:1], *self._announced(chance, chosen), *chosen[1:]]
        if chance.random() < 0.3:
            frames += [*self._keepalives[:1], *chance.choice(self._chunks)]
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(frames))
            match chance.randrange(12):
                case 0:
                    frames[at] = bent(chance, frames[at], list(self._corpus.events), 0)
                case 1:
                    frames[at] = frames[at][:25] + bytes([chance.randrange(256)]) + frames[at][26:]
                case 2:
                    del frames[at]
                case 3:
                    frames.insert(at, chance.choice(self._corpus.events))
                case _:
                    frames[at] = bent(chance, frames[at], list(self._corpus.events), 25)
        return frames


class Texts:
    """Positions, GTID sets, LSNs and apply records as texts: what is read back from stores and comments."""

    ENGINE = "texts"
    _SEEDS = (
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7-9,3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:1-3", "0-1-100,5-2-7", "16/B374D848",
        '{"server":"x","file":"binlog.000001","offset":4,"gtids":"0-1-2","base":0,"first_file":1,"domain":0}',
        '{"lsn":"0/10","system":"7","timeline":1,"slot":"datong"}', '["house","shop",1,"t",1,[["crm",[7,0,true,9]]]]',
        'UPDATE /*datong:0123456789abcdef0123456789abcdef ["house","shop",1,"t",1,[]]*/ t SET x = 1',
    )  # fmt: skip

    def __init__(self) -> None:
        wanted = Wanted("house", "shop", {})
        place: Callable[[str], Any] = lambda text: read_place(Position(16, text))  # noqa: E731
        native: Callable[[str], Any] = lambda text: read_native(Position(16, text))  # noqa: E731
        self.readers: dict[str, tuple[Callable[[str], Any], tuple[type[Exception], ...]]] = {
            "mysql_gtids": (lambda text: MySQLGtids(text).encode(), (ValueError,)),
            "mariadb_gtids": (lambda text: str(MariaDBGtids(text)), (ValueError,)),
            "lsn": (lsn_number, (ValueError,)),
            "place": (place, (HaltError,)),
            "native": (native, (ValueError,)),
            "record": (read_record_text, (msgspec.DecodeError,)),
            "comment": (lambda text: comment_record(wanted, text.encode()), ()),
        }

    def input(self, chance: random.Random) -> list[bytes]:
        seeds = [seed.encode() for seed in self._SEEDS]
        body = bytearray(bent(chance, chance.choice(seeds), seeds, 0))
        if chance.random() < 0.2:
            at = chance.randrange(len(body) + 1)
            body[at:at] = chance.choice(
                (b"9" * 30, b"9" * 5000, b"[" * 3000, b'{"a":' * 2000, b"-" * 99, "٣²½".encode())
            )
        return [chance.choice([*self.readers]).encode(), bytes(body)]

    def judge(self, given: list[bytes]) -> str:
        name, text = given[0].decode(), given[1].decode("utf-8", "replace")
        read, allowed = self.readers[name]
        try:
            read(text)
        except allowed as error:
            return type(error).__name__
        return "read"


def judged(corpus: Corpus, events: list[bytes]) -> str:
    """What an input came to; AssertionError where the error is not what an operator needs, or the two ways to read a log differ."""
    outcome = corpus.replay(events)
    error = outcome.error
    if corpus.engine != "postgresql" and outcome.whole:
        other = corpus.replay(events, by_event=True)
        assert (outcome.told, str(error)) == (other.told, str(other.error)), "read at once and event by event differ"
    assert error is not None
    if isinstance(error, TransientError):
        return "whole" if outcome.whole else "rows" if outcome.rows else "nothing"
    assert isinstance(error, HaltError), repr(error)
    text = str(error)
    assert "\n" not in text, f"more than one line: {text[:300]!r}"
    assert len(text) < 3000, f"a message of {len(text)} characters: {text[:300]!r}"
    assert PLACE.search(text), f"names no place: {text!r}"
    return error.code


def run(engine: str, seed: int, seconds: float) -> dict[str, Any]:
    chance = random.Random(seed)
    texts = Texts() if engine == "texts" else None
    corpus = None if texts else load(engine)
    source: Any = texts or (Frames(corpus) if engine == "postgresql" else Binlog(corpus))  # type: ignore[arg-type]
    _limit()
    count, came_to, findings = 0, Counter[str](), {}
    until = time.process_time() + seconds
    while time.process_time() < until and len(findings) < 10:
        given = source.input(chance)
        count += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        try:
            came_to[texts.judge(given) if texts else judged(corpus, given)] += 1  # type: ignore[arg-type]
        except (Exception, Hang) as error:  # noqa: BLE001 - whatever escapes is what we look for
            findings[_where(error)] = {
                "engine": engine,
                "error": _where(error),
                "events": [event.hex() for event in given],
            }
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return {
        "engine": engine,
        "seed": seed,
        "inputs": count,
        "came_to": dict(came_to),
        "findings": list(findings.values()),
    }


def _limit() -> None:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def hang(*_: object) -> None:
        raise Hang(f"{CPU_SECONDS} s of CPU for one input")

    signal.signal(signal.SIGVTALRM, hang)


def _where(error: BaseException) -> str:
    """The error and the last place of ours: findings that are one are told once."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/cdc/" in f.filename or "/sinks/" in f.filename]
    place = (
        f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} {frames[-1].name}" if frames else "the checks"
    )
    return f"{type(error).__name__} in {place}: {str(error)[:200]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["mysql", "mariadb", "postgresql", "texts"])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--seconds", type=float, default=10.0, help="of CPU")
    given = parser.parse_args()
    result = run(given.engine, given.seed, given.seconds)
    print(json.dumps(result))
    sys.exit(bool(result["findings"]))


if __name__ == "__main__":
    main()
