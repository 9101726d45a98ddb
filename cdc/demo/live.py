"""The interactive demo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveOptions:
    seed: int
    seconds: int | None = None
    keep: bool = False


def live(options: LiveOptions) -> None:
    raise NotImplementedError
