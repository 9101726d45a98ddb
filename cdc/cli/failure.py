"""How a command says that it did not work."""

from __future__ import annotations

from collections.abc import Sequence


class CommandError(Exception):
    """The command ends with this exit code and these lines on standard error, each for an operator's eyes."""

    def __init__(self, lines: str | Sequence[str], code: int = 1) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__(self.lines[0] if self.lines else "")
        self.code = code
