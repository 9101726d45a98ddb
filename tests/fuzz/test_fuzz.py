"""The decoders are fed by a network: whatever comes, they answer with the engine's own error and its place (I6, I8).

Never an IndexError, a hang or a huge allocation. The inputs are recorded from real servers (`record.py`) and bent at random
(`bend.py`, in a process of its own with limits); what ever was found is kept in `found/` and tried each time. Seed: DATONG_SEED.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.bend import Texts, judged
from tests.fuzz.replay import FOUND, load

ROOT = Path(__file__).parents[2]
ENGINES = ("mysql", "mariadb", "postgresql", "texts")
# What a run must have come to at least once: a fuzzer whose inputs are all refused at the door, or none, tests nothing.
EXPECTED = {
    "mysql": {"rows", "whole", "CORRUPT_EVENT", "UNSUPPORTED_EVENT"},
    "mariadb": {"rows", "whole", "CORRUPT_EVENT", "UNSUPPORTED_EVENT"},
    "postgresql": {"rows", "LOG_UNREADABLE", "UNSUPPORTED_EVENT"},
    "texts": {"read", "ValueError", "HaltError", "DecodeError"},
}


def bend(engine: str, seconds: float) -> dict[str, Any]:
    seed = int(os.environ.get("DATONG_SEED", random.randrange(2**32)))
    print("seed", seed)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.bend", engine, "--seed", str(seed), "--seconds", str(seconds)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, f"the fuzzer itself ended with {done.returncode}: {done.stderr[-3000:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    print({name: result[name] for name in ("inputs", "came_to")})
    return result


@pytest.mark.parametrize("engine", ENGINES)
def test_bent_events_are_answered_with_an_error_that_names_the_place(engine: str) -> None:
    result = bend(engine, 2.0)
    assert not result["findings"], json.dumps(result["findings"])[:3000]
    assert set(result["came_to"]) >= EXPECTED[engine]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
def test_bent_events_for_minutes(engine: str) -> None:
    result = bend(engine, 300.0)
    assert not result["findings"], json.dumps(result["findings"])[:3000]


@pytest.mark.parametrize("engine", ENGINES[:3])
def test_the_recorded_events_are_read_as_they_are(engine: str) -> None:
    """The tape itself is sound: all of its transactions come out."""
    corpus = load(engine)
    outcome = corpus.replay(list(corpus.events))
    assert str(outcome.error) == "the tape has ended"
    if engine != "postgresql":
        assert outcome.whole >= 1
        assert corpus.replay(list(corpus.events), by_event=True).told == outcome.told
    assert outcome.rows >= 9
    assert outcome.parts >= 12


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    found = json.loads(path.read_text())
    events = [bytes.fromhex(event) for event in found["events"]]
    came_to = Texts().judge(events) if found["engine"] == "texts" else judged(load(found["engine"]), events)
    assert came_to in found["now"]
