"""The built-in transforms, one module per family."""

from __future__ import annotations

from typing import Final

from transforms.families import codes, documents, numbers, phones, protection, texts, times
from transforms.registry import Transform

ALL: Final[tuple[Transform, ...]] = (
    *codes.TRANSFORMS,
    *numbers.TRANSFORMS,
    *texts.TRANSFORMS,
    *phones.TRANSFORMS,
    *times.TRANSFORMS,
    *documents.TRANSFORMS,
    *protection.TRANSFORMS,
)
