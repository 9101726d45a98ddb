"""When changes that a foreign key refused are tried again: soon, ever less often, a bounded number at once, not for ever."""

from __future__ import annotations

import itertools

import pytest

from cdc.apply import orphans
from sinks.contract import ParkedRow


class Release:
    """Stands for what tries changes again: notes what it was asked for; what `comes` says is let in."""

    def __init__(self, rows):
        self.rows, self.asked, self.comes = {row.id: row for row in rows}, [], set()

    def retry_together(self, ids):
        self.asked.append(set(ids))
        for ident in set(ids) & self.comes:
            del self.rows[ident]

    def parked(self):
        return list(self.rows.values())


@pytest.fixture
def clock(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(orphans.time, "time", lambda: now[0])
    return now


def row(ident, reason="foreign_key", since=1_000_000.0):
    return ParkedRow(ident, "d", "a", 1, 0, "a.t", "t", f"t/{ident}", reason, "", int(since * 1e6), b"")


def test_a_change_is_tried_ever_less_often_and_not_for_ever(clock):
    release = Release([row("x"), row("y", "rejected")])
    made = orphans.Orphans(release, release.parked())
    tried = []
    while clock[0] < 1_000_000 + 2 * orphans.GIVE_UP_SECONDS:
        before = len(release.asked)
        made.retry_when_due()
        if len(release.asked) > before:
            tried.append(clock[0])
        clock[0] += 0.25 if clock[0] < 1_000_400 else 10
    assert all(asked == {"x"} for asked in release.asked)  # what a person has to mend is not tried
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert tried[0] == 1_000_000 + orphans.FIRST_SECONDS
    assert max(gaps) <= orphans.LONGEST_SECONDS + 10
    assert sum(at < 1_000_060 for at in tried) < 30
    assert orphans.GIVE_UP_SECONDS - 60 < tried[-1] - 1_000_000 <= orphans.GIVE_UP_SECONDS + 60


def test_what_came_is_forgotten_and_many_are_tried_a_part_at_a_time(clock):
    release = Release([row(f"r{number}") for number in range(orphans.MOST_AT_ONCE + 50)])
    made = orphans.Orphans(release, release.parked())
    release.comes = {"r0", "r1"}
    clock[0] += 1
    made.retry_when_due()
    made.retry_when_due()
    assert [len(asked) for asked in release.asked] == [orphans.MOST_AT_ONCE, 50]
    clock[0] += 3600
    made.renew(release.parked())
    for _ in range(3):
        clock[0] += orphans.LONGEST_SECONDS
        made.retry_when_due()
    assert not any(release.comes & asked for asked in release.asked[2:])
