"""Keeps the role processes running and knows how they are: start, watch, restart, stop. See `cdc.supervisor.runner`."""
