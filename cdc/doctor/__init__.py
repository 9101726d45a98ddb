"""`datong doctor`: connects to everything and says what is missing, each with the exact statement that mends it.

Gathering (a module per engine) is apart from judging (pure checks over plain facts). Examining never writes.
"""

from __future__ import annotations

from cdc.doctor.examination import examine, fix
from cdc.doctor.finding import Finding, exit_code, render, render_sql

__all__ = ["Finding", "examine", "exit_code", "fix", "render", "render_sql"]
