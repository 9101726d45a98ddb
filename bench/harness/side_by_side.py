"""Subjects side by side: each prepares before the log is written, then each reads the same log in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bench.harness.report import Report, Result
from bench.harness.subject import CannotRun, Outcome, SubjectFailed, Task, ask

Refused: TypeAlias = dict[str, dict[Literal["skipped", "failed"], str]]  # why it has no row, by subject


@dataclass(frozen=True, slots=True)
class Subject:
    """`module`: of `bench.subjects`. `python`: the interpreter that has its packages. `why_not`: it cannot run on this machine."""

    name: str
    module: str
    python: str
    why_not: str = ""


def prepare(subjects: list[Subject], task: Task) -> Refused:
    """Let every subject prepare, in our own interpreter; answers why not, by subject."""
    refused: Refused = {}
    for subject in subjects:
        if subject.why_not:
            refused[subject.name] = {"skipped": subject.why_not}
            continue
        try:
            ask(f"bench.subjects.{subject.module}", task, step="prepare")
        except CannotRun as why:
            refused[subject.name] = {"skipped": str(why)}
        except SubjectFailed as error:
            refused[subject.name] = {"failed": str(error)}
    return refused


def measure(report: Report, subject: Subject, task: Task, refused: Refused, place: tuple[str, str]) -> None:
    """One row of the report."""
    server, workload = place
    if subject.name in refused:
        told = refused[subject.name]
        report.add(Result(server, workload, subject.name, {}, told.get("skipped", ""), told.get("failed", "")))
        return
    try:
        outcome = ask(f"bench.subjects.{subject.module}", task, step="run", python=subject.python)
        report.versions.update(outcome.get("versions", {}))
        report.add(Result(server, workload, subject.name, numbers(outcome)))
    except CannotRun as why:
        report.add(Result(server, workload, subject.name, skipped=str(why)))
    except SubjectFailed as error:
        report.add(Result(server, workload, subject.name, failed=str(error)))


def numbers(outcome: Outcome) -> dict[str, float]:
    """What a row says, of what a subject measured."""
    rows, seconds = outcome["rows"], outcome["seconds"]
    found: dict[str, Any] = {
        "rows_per_second": round(rows / seconds, 1),
        "cpu_us_per_row": round(outcome["cpu_seconds"] / rows * 1e6, 2),
    }
    memory = outcome.get("memory_mb") or []
    if memory:
        # From a tenth on: by then everything is loaded that will be.
        found["memory_first_mb"] = round(memory[min(len(memory) - 1, len(memory) // 10 + 1)], 1)
        found["memory_last_mb"] = round(memory[-1], 1)
    if "peak_mb" in outcome:
        found["memory_peak_mb"] = round(outcome["peak_mb"], 1)
    return found
