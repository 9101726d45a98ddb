"""The only place of the service that starts programs: how each of its children is started, whatever it does.

A child gets the descriptors it is told of and no other, nothing to read, a process group of its own (a terminal's Ctrl-C is for the
supervisor, which ends its children in order), and its parent's process id, so that it ends when the parent is gone (`cdc.child`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from cdc.child import PARENT_VARIABLE


def spawn(module: str, words: Sequence[str], descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """`python -m module words...`, with these open descriptors. OSError: it could not be started."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        process_group=0,
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    )
