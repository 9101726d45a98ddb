"""Subjects: one module each, run as a process of its own. See `bench.harness.subject`."""
