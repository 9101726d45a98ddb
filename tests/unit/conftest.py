"""Unit tests: generated examples get the time they need, because two cores are shared, and say how to run them again."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
