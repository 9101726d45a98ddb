"""`datong demo` as a user runs it: real servers, the real command line, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import await_that

pytestmark = pytest.mark.timeout(400)

_started: list[subprocess.Popen[bytes]] = []


class Demo:
    """One `datong demo` in a process of its own, with a temporary folder of its own."""

    def __init__(self, folder: Path, *arguments: str, path: str | None = None) -> None:
        self.folder = folder
        self._output = folder.with_suffix(".out")
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
        if path is not None:
            environment["PATH"] = path
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cdc.cli", "demo", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        _started.append(self.process)

    def said(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def says(self, text: str, timeout: float = 100) -> None:
        await_that(
            lambda: text in self.said() or self.process.poll() is not None,
            timeout=timeout,
            message=f"the demo to say {text!r}",
        )
        assert text in self.said(), self.said()

    def ends(self, timeout: float = 100) -> int:
        return self.process.wait(timeout)

    def leaves_nothing(self) -> None:
        assert _processes_of(self.folder) == []
        assert list(self.folder.iterdir()) == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that PostgreSQL's account may pass through."""
    with tempfile.TemporaryDirectory(prefix="datong-t-", ignore_cleanup_errors=True) as made:
        inner = Path(made) / "tmp"
        inner.mkdir()
        Path(made).chmod(0o711)
        inner.chmod(0o711)
        yield inner
        for pid in _processes_of(inner):  # only what a failed test has left
            os.kill(pid, signal.SIGKILL)
        for process in _started:
            process.wait(10)
        _started.clear()


def _processes_of(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found


def _check(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    demo = Demo(folder, "--check", *arguments)
    code = demo.ends()
    said = demo.said()
    print(said)
    demo.leaves_nothing()
    document = json.loads(said.splitlines()[-1])
    assert isinstance(document, dict)
    return code, document, said


def test_the_check_holds(folder: Path) -> None:
    code, result, said = _check(folder, "--transactions=120")
    assert code == 0, said
    assert result["ok"] is True
    assert result.keys() == {
        "ok", "seed", "transactions", "rows_applied", "echoes_dropped", "loops", "lost", "diverged", "parked",
        "identities", "references_translated", "latency_ms", "seconds",
    }  # fmt: skip
    assert result["transactions"] > 3 * 120
    assert result["rows_applied"] > result["transactions"]
    assert result["echoes_dropped"] > 0
    assert result["identities"] == 60
    assert result["references_translated"] == 2 * 120
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    assert f"seed {result['seed']};" in said


@pytest.mark.parametrize(("sabotage", "count"), [("loss", "lost"), ("value", "diverged"), ("loop", "loops")])
def test_a_sabotaged_check_fails_with_the_right_count(folder: Path, sabotage: str, count: str) -> None:
    code, result, said = _check(folder, f"--sabotage={sabotage}", "--transactions=60")
    assert code == 1, said
    assert result["ok"] is False
    assert result[count] > 0, said
    if sabotage != "loop":  # one change, on the two other sides; a loop damages more than the logs
        assert {name: result[name] for name in ("loops", "lost", "diverged", "parked")} == {
            "loops": 0, "lost": 0, "diverged": 0, "parked": 0, count: 2,
        }  # fmt: skip


def test_a_check_that_is_interrupted_says_so_and_leaves_nothing(folder: Path) -> None:
    demo = Demo(folder, "--check", "--seed=7")
    demo.says("the service is ready")
    demo.process.send_signal(signal.SIGTERM)
    assert demo.ends(100) == 1
    result = json.loads(demo.said().splitlines()[-1])
    assert (result["ok"], result["seed"], result["error"]) == (False, 7, "ended by SIGTERM")
    demo.leaves_nothing()


def test_a_missing_server_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    demo = Demo(folder, path=str(tmp_path))  # Redis is found by PATH alone
    assert demo.ends(100) == 1
    last = demo.said().splitlines()[-1]
    assert "redis-server is missing" in last
    assert "make demo" in last
    demo.leaves_nothing()


@pytest.mark.parametrize(
    "number",  # Ctrl-C ends the next test's demo, SIGTERM the check above
    [signal.SIGHUP, *(pytest.param(number, marks=pytest.mark.soak) for number in (signal.SIGINT, signal.SIGTERM))],
)
def test_whatever_ends_the_demo_nothing_is_left(folder: Path, number: signal.Signals) -> None:
    demo = Demo(folder)
    demo.says("in step")
    demo.process.send_signal(number)
    assert demo.ends(100) == 0
    demo.leaves_nothing()


def test_a_killed_service_is_started_again_by_hand_and_catches_up(folder: Path) -> None:
    demo = Demo(folder, "--seed=3")
    demo.says("in step")
    header = demo.said()
    (stage,) = folder.iterdir()
    shown = re.search(r"^  kill -9 (\d+)\n  (set -a; .*)\n  (.* run)$", header, re.MULTILINE)
    assert shown is not None, header
    assert (stage / "env").stat().st_mode & 0o777 == 0o600

    os.kill(int(shown[1]), signal.SIGKILL)
    demo.says("is gone")
    await_that(
        lambda: re.search(r"no service: [1-9]\d* wait", demo.said()) is not None,
        timeout=30,
        message="changes to pile up",
    )
    again = subprocess.Popen(
        ["/bin/sh", "-c", f"{shown[2]}\nexec {shown[3]}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _started.append(again)
    demo.says("The service is back")
    back = len(demo.said())
    await_that(
        lambda: "Compared: all three systems" in demo.said()[back:] or demo.process.poll() is not None,
        timeout=90,
        message=lambda: f"the three to be equal: {demo.said()}",
    )
    assert "Compared: all three systems" in demo.said()[back:], demo.said()

    demo.process.send_signal(signal.SIGINT)
    assert demo.ends(100) == 0
    assert again.wait(10) == 0
    demo.leaves_nothing()
    assert "NOT EQUAL" not in demo.said()
