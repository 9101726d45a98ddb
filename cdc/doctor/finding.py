"""What the doctor says: one finding, with the exact lines that mend it, and how findings are shown. Pure. Guards I9.

A `mend` line that ends with a semicolon is a statement to be run as it stands; any other is a configuration line or a shell command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]

_RANK: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """`channel` is None for what concerns the whole deployment; `path` is the place in the configuration.

    `fixable`: `datong doctor --fix` may run its statements itself, with the channel's own account.
    """

    code: str
    severity: Severity
    channel: str | None
    path: str
    text: str
    mend: list[str] = field(default_factory=list)
    fixable: bool = False


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The deployment's own first, then channel by channel in the order given, errors before warnings."""
    return sorted(findings, key=lambda finding: (finding.channel is not None, finding.channel or "", _rank(finding)))


def exit_code(findings: Iterable[Finding]) -> int:
    """1 when any error remains."""
    return int(any(finding.severity == "error" for finding in findings))


def render(findings: Sequence[Finding]) -> str:
    """Readable lines, grouped by channel, each finding followed by what mends it."""
    lines: list[str] = []
    for channel, group in groupby(in_order(findings), key=lambda finding: finding.channel):
        lines.append(f"channel {channel}" if channel else "deployment")
        for finding in group:
            lines.append(f"  {finding.severity:<7} {finding.code}  {finding.path}: {finding.text}")
            lines += [f"            {line}" for line in finding.mend]
            if finding.fixable:
                lines.append("            (datong doctor --fix does this)")
    lines.append(_summary(findings))
    return "\n".join(lines) + "\n"


def render_sql(findings: Sequence[Finding]) -> str:
    """Only what mends: statements as they are, everything else as SQL comments, so that the output can be piped to a client."""
    lines: list[str] = []
    for channel, group in groupby(in_order(findings), key=lambda finding: finding.channel):
        mends = [line for finding in group for line in finding.mend]
        if mends:
            lines.append(f"-- {f'channel {channel}' if channel else 'deployment'}")
            lines += dict.fromkeys(line if is_statement(line) else f"-- {line}" for line in mends)
    return "".join(f"{line}\n" for line in lines)


def is_statement(line: str) -> bool:
    return line.endswith(";")


def _rank(finding: Finding) -> int:
    return _RANK[finding.severity]


def _summary(findings: Sequence[Finding]) -> str:
    count = {severity: sum(finding.severity == severity for finding in findings) for severity in _RANK}
    if not count["error"] and not count["warning"]:
        return "nothing is missing"
    return f"{count['error']} errors, {count['warning']} warnings"
