"""The hub store for the length of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdc.store import Store
    from config.models import Configuration


@contextmanager
def opened_store(configuration: Configuration) -> Iterator[Store]:
    """Raises DatongError with one line."""
    from cdc.store import Store

    store = Store(configuration.store.url.get_secret_value(), configuration.deployment)
    try:
        store.open()
        yield store
    finally:
        store.close()
