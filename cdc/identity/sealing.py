"""Identifiers at rest: a keyed hash to look them up by, and beside it the value, encrypted where `store.key` is set. Guards I9.

The hash is keyed in any case (with the deployment's name where there is no key), so that deployments in one store never meet.
With a key nothing in the hub store tells a person's identifiers or local keys to who does not have it.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdc.errors import HaltError
from cdc.identity.identifiers import Identifier
from transforms.values import WireValue

_NONCE: Final = 12
_encode = msgspec.json.Encoder().encode
LocalKey = tuple[WireValue, ...]


class Seal:
    """Digests (16 bytes) and sealed values of one deployment."""

    def __init__(self, deployment: str, key: str | None) -> None:
        secret = blake2b((key or "").encode(), salt=b"datong", person=b"secret").digest()
        self._hash_key = blake2b(deployment.encode(), key=secret, person=b"hash", digest_size=32).digest()
        sealing = blake2b(deployment.encode(), key=secret, person=b"seal", digest_size=32).digest()
        self._cipher = AESGCM(sealing) if key else None
        self.fingerprint = blake2b(self._hash_key, person=b"fingerprint", digest_size=8).hexdigest()

    def identifier(self, entity: str, identifier: Identifier) -> bytes:
        """The name of an identifier."""
        text = f"i\x1f{entity}\x1f{identifier.field}\x1f{identifier.scope}\x1f{identifier.value}"
        return blake2b(text.encode(), key=self._hash_key, digest_size=16).digest()

    def row(self, entity: str, channel: str, local: LocalKey) -> bytes:
        """The name of a row of a channel."""
        text = f"r\x1f{entity}\x1f{channel}\x1f".encode() + _encode(local)
        return blake2b(text, key=self._hash_key, digest_size=16).digest()

    def close(self, digest: bytes, value: bytes) -> bytes:
        """Encrypt a value, bound to its digest; as it is where there is no key."""
        if self._cipher is None:
            return value
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, digest)

    def open(self, digest: bytes, sealed: bytes) -> bytes:
        """Raises HaltError where it was sealed with another key."""
        if self._cipher is None:
            return sealed
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], digest)
        except InvalidTag:
            raise HaltError(
                "STORE_KEY_WRONG", "an identity in the hub store was sealed with another key", "restore store.key"
            ) from None
