"""The three kinds of failure (ARCHITECTURE.md section 9) as the engine sees them. Guards I6, I10.

Every message is one line: what happened, where, and what to do. None holds a password or a row's value (I9).
"""

from __future__ import annotations


class DatongError(Exception):
    """Base of the engine's own errors; `str()` of one is fit for an operator's eyes."""


class TransientError(DatongError):
    """Connection lost, server restarting, Redis away: try again with backoff, nothing is skipped."""


class HaltError(DatongError):
    """This channel cannot go on without a person.

    `code` is a stable upper-case name (POSITION_PURGED, SLOT_LOST, ...), `what` one line that names the place, `mend` the
    command or statement that mends it.
    """

    def __init__(self, code: str, what: str, mend: str) -> None:
        what = " ".join(what.splitlines())  # a name in a log may hold anything
        super().__init__(f"{code}: {what} - {mend}")
        self.code = code
        self.what = what
        self.mend = mend


class LeaseLostError(DatongError):
    """Another instance of this deployment took the channel's role over: stop writing at once, stand by."""


class ChangeLogLostError(DatongError):
    """Redis no longer holds what this process published or read (flushed, evicted, another server)."""
