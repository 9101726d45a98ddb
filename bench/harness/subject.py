"""A subject: what is measured, in a process of its own. Standard library only, so that peers' own interpreters can import it.

    python -m bench.subjects.NAME      reads a task (JSON) from standard input, answers one JSON object as the last line

A subject module has `prepare(task)`, called before the log is written (take a position, make a slot), and `run(task)`, which answers
`Meter.stop`'s outcome. It raises `CannotRun` where this machine or server lacks what it needs. Tasks hold passwords, so they never
stand in a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

_LINES_TOLD = 20
ROOT = Path(__file__).resolve().parents[2]

Task: TypeAlias = dict[str, Any]
Outcome: TypeAlias = dict[str, Any]


class CannotRun(Exception):
    """Why a subject cannot run here, in one line."""


class SubjectFailed(RuntimeError):
    """A subject ran and went wrong; the message is one line."""


def serve(prepare: Callable[[Task], None], run: Callable[[Task], Outcome]) -> None:
    """A subject module's main: do the task's step and answer. What it prints meanwhile goes to standard error."""
    task: Task = json.load(sys.stdin)
    answer: Outcome = {}
    code = 0
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if task["step"] == "prepare":
                prepare(task)
            else:
                answer = run(task)
        except CannotRun as why:
            answer = {"skipped": str(why)}
        except Exception:  # noqa: BLE001 - told, and the process ends with a code
            traceback.print_exc()
            code = 1
    print(json.dumps(answer), flush=True)
    sys.stderr.flush()
    os._exit(code)  # a JVM or a library's threads may have their own ideas of when to end


def ask(module: str, task: Task, *, step: str, python: str = sys.executable, timeout: float = 300) -> Outcome:
    """Run a subject's step to its end. Raises CannotRun and SubjectFailed."""
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            # The kernel ends it with us, however we end.
            ["setpriv", "--pdeathsig", "KILL", "--", python, "-m", module],
            input=json.dumps({**task, "step": step}), cwd=task["folder"], env=environment, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SubjectFailed(f"{module} did not end within {timeout:.0f} s") from None
    log = Path(task["folder"]) / f"{module.rpartition('.')[2]}-{step}.log"
    log.write_text(done.stderr, encoding="utf-8")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        print(*done.stderr.strip().splitlines()[-_LINES_TOLD:], sep="\n", file=sys.stderr)
        told = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise SubjectFailed(f"{module} ended with code {done.returncode}: {told[:300]}")
    answer: Outcome = json.loads(lines[-1])
    if "skipped" in answer:
        raise CannotRun(str(answer["skipped"]))
    return answer
