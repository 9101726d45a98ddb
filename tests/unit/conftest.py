"""Unit tests: generated examples get the time they need, because two cores are shared, and say how to run them again.

In CI the same examples come every time: a new counterexample is for the one who changed something, not for whoever lands next.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unhurried",
    deadline=None,
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),
    database=None if os.environ.get("CI") else settings.default.database,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")
