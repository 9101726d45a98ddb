"""The words of a running process's command line, as the kernel shows them. Raises OSError where the process is gone. proc(5)."""

from __future__ import annotations

from pathlib import Path


def command_line(pid: int) -> list[str]:
    """Split at spaces too: a forked role has its command line as one text (`cdc.fork_server`)."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    return line.replace("\0", " ").split()
