"""What the supervisor knows of Redis and the hub store: asked again and again by threads that nothing ends."""

from __future__ import annotations

from collections.abc import Iterator

from cdc.errors import TransientError
from cdc.supervisor import probes
from cdc.supervisor.probes import Probes
from tests.waiting import await_that


def test_a_probe_that_fails_in_any_way_is_told_and_asked_again(monkeypatch):
    monkeypatch.setattr(probes, "EVERY_SECONDS", 0.01)
    answers: Iterator[Exception] = iter((TransientError("refused"), ValueError("of a library")))
    seen: list[str] = []

    def probe() -> None:
        seen.append(asked.seen()[0].error)
        if (error := next(answers, None)) is not None:
            raise error

    asked = Probes({"Redis": probe})
    asked.start()
    try:
        await_that(lambda: len(seen) > 3, message=lambda: f"asked again: {seen}")
    finally:
        asked.stop()
    assert seen[:4] == ["", "refused", "unexpected ValueError while asking it: report it", ""]
