"""Log lines: no secret gets out, and what repeats is not written for ever."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import structlog

from cdc.logs import REPEAT_SECONDS, Repeats, SecretsFilter

SECRET = "p@ss:w/%rd!"


@pytest.mark.parametrize(
    "value",
    [
        f"mysql://u:{SECRET}@h/db",
        "mysql://u:p%40ss%3Aw%2F%25rd%21@h/db",
        {"inner": [f"a {SECRET}"]},
        (SECRET,),
        ValueError(SECRET),
        SECRET.encode(),
    ],
)
def test_a_known_secret_is_masked_wherever_it_stands(value: object) -> None:
    clean = SecretsFilter()
    clean.know([SECRET])
    shown = str(clean(None, "", {"event": "x", "value": value}))
    assert SECRET not in shown
    assert "%40ss" not in shown
    assert "***" in shown


def test_numbers_and_other_words_stay_as_they_are() -> None:
    clean = SecretsFilter()
    clean.know([SECRET, "abc"])
    event = {"event": "abc", "rows": 12, "lag": 0.5, "none": None, "yes": True}
    assert clean(None, "", dict(event)) == event


def test_an_identical_line_is_written_again_after_a_while_with_the_count_of_those_left_out() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    line = {"event": "retrying", "reason": "refused", "ts": "1", "attempt": 1}
    assert "repeated" not in repeats(None, "", dict(line))
    for attempt in range(2, 5):
        with pytest.raises(structlog.DropEvent):
            repeats(None, "", line | {"ts": str(attempt), "attempt": attempt})
    assert repeats(None, "", line | {"reason": "other"})["reason"] == "other"
    now = REPEAT_SECONDS
    assert repeats(None, "", dict(line))["repeated"] == 3


def test_lines_that_are_said_to_be_alike_count_as_the_same_line_and_do_not_show_why() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    line = {"event": "batch_rejected", "rows": 3, "alike": "too long"}
    assert repeats(None, "", dict(line)) == {"event": "batch_rejected", "rows": 3}
    with pytest.raises(structlog.DropEvent):
        repeats(None, "", line | {"rows": 4})
    assert repeats(None, "", line | {"alike": "too short"})["rows"] == 3
    assert repeats(None, "", line | {"event": "another"})["rows"] == 3
    now = REPEAT_SECONDS
    assert repeats(None, "", line | {"rows": 5}) == {"event": "batch_rejected", "rows": 5, "repeated": 1}


def test_a_process_writes_json_lines_masked_and_bound_even_in_a_traceback() -> None:
    program = f"""
import logging, structlog, warnings
from cdc import logs
logs.configure(secrets=[{SECRET!r}], role="capture", channel="website")
log = structlog.get_logger()
log.info("started", url="mysql://u:{SECRET}@h")
log.debug("hidden")
logging.getLogger("uvicorn.error").error("it failed: %s", {SECRET!r})
logging.getLogger("sqlalchemy").warning("values: 42")
warnings.warn("values: 42")
try:
    raise ValueError({SECRET!r})
except ValueError:
    log.exception("broken")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["started", "library", "broken"]
    assert SECRET not in done.stderr
    for line in lines:
        assert line["role"] == "capture"
        assert line["channel"] == "website"
        assert {"level", "ts"} <= line.keys()
