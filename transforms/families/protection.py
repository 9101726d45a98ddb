"""What must not travel as it is: `mask` (what a person may see), `hash` (the same, unreadable), `encrypt` (readable with a key).

Guards I9: a key never shows in a message, and nothing here says more of a value than `masked` does. Keys are derived from the
secrets that an operator gives, one for each purpose (HKDF, RFC 5869), so that one secret may serve several transforms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import pydantic
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, require

_NONCE_BYTES: Final = 12  # NIST SP 800-38D
_FORMAT: Final = re.compile(r"(dg|ds)1\.([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]+)")

# A secret of fewer characters can be guessed; `openssl rand -base64 32` makes a good one.
Secret = Annotated[pydantic.SecretStr, pydantic.Field(min_length=32)]
KeyName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")]


class _Parameter(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _derived(secret: pydantic.SecretStr, purpose: str, length: int) -> bytes:
    material = secret.get_secret_value().encode()
    return HKDF(SHA256(), length, salt=None, info=f"datong {purpose}".encode()).derive(material)


class Mask(_Parameter):
    """How many characters stay at the beginning and at the end. A text that has no more than these is masked whole."""

    first: Annotated[int, pydantic.Field(ge=0, strict=True)] = 3
    last: Annotated[int, pydantic.Field(ge=0, strict=True)] = 4


def _mask(parameter: Mask | None, kind: Kind, context: Context) -> Built:
    del context
    require(kind, ("text", "integer"), "mask")
    first, last = (parameter.first, parameter.last) if parameter else (3, 4)

    def decode(value: Any) -> str:
        text = str(value)
        hidden = len(text) - first - last
        if hidden <= 0:
            return "*" * len(text)
        return f"{text[:first]}{'*' * hidden}{text[len(text) - last :]}"

    return Built("text", decode, None)


class Hash(_Parameter):
    """`key` is the secret; `digits` how many hexadecimal digits of the 64 are kept."""

    key: Secret
    digits: Annotated[int, pydantic.Field(ge=16, le=64, strict=True)] = 64


def _hash(parameter: Hash, kind: Kind, context: Context) -> Built:
    """HMAC-SHA256. Of bytes the bytes, of everything else its text: equal values have equal hashes under one key."""
    require(kind, ("text", "integer", "bytes", "uuid"), "hash")
    del context
    keyed = hmac.new(_derived(parameter.key, "hash", 32), digestmod=hashlib.sha256)
    digits = parameter.digits

    def decode(value: Any) -> str:
        digest = keyed.copy()
        digest.update(value if kind == "bytes" else str(value).encode())
        return digest.hexdigest()[:digits]

    return Built("text", decode, None)


class Encrypt(_Parameter):
    """`keys`: secrets by name; the first encrypts, all decrypt. `at`: which side holds what is encrypted.

    `deterministic`: equal texts become equal ciphertexts (AES-SIV, RFC 5297); else never twice the same (AES-256-GCM).
    """

    keys: Annotated[dict[KeyName, Secret], pydantic.Field(min_length=1, max_length=64)]
    deterministic: bool = False
    at: Literal["field", "column"] = "field"


class _Cipher:
    """Text of one key and one mode. What is encrypted is bound to the field, so that it cannot be moved to another one."""

    def __init__(self, parameter: Encrypt, context: Context) -> None:
        self._parameter = parameter
        self._context = context
        self._bound = context.field.name.encode()
        self._random = {name: AESGCM(_derived(key, "encrypt", 32)) for name, key in parameter.keys.items()}
        self._fixed = {name: AESSIV(_derived(key, "encrypt siv", 64)) for name, key in parameter.keys.items()}
        self._name = next(iter(parameter.keys))

    def encrypt(self, plain: bytes) -> str:
        if self._parameter.deterministic:
            mode, sealed = "ds1", self._fixed[self._name].encrypt(plain, [self._bound])
        else:
            nonce = os.urandom(_NONCE_BYTES)
            mode, sealed = "dg1", nonce + self._random[self._name].encrypt(nonce, plain, self._bound)
        return f"{mode}.{self._name}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def decrypt(self, text: str) -> bytes:
        found = _FORMAT.fullmatch(text)
        if found is None:
            self._context.refuse(text, "is not what this transform encrypted")
        mode, name, packed = found.groups()
        if name not in self._random:
            self._context.refuse(text, f"is encrypted with key '{name}', which is not among its keys")
        try:
            sealed = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars="-_", validate=True)
            if mode == "ds":
                return self._fixed[name].decrypt(sealed, [self._bound])
            return self._random[name].decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound)
        except (InvalidTag, binascii.Error, ValueError):
            self._context.refuse(
                text, f"cannot be decrypted with key '{name}': it was changed, or the key is another one"
            )


def _encrypt(parameter: Encrypt, kind: Kind, context: Context) -> Built:
    at_field = parameter.at == "field"
    require(kind, ("text", "bytes") if at_field else ("text",), "encrypt")
    cipher = _Cipher(parameter, context)
    plain_kind: Kind = kind if at_field else "bytes" if context.target == "bytes" else "text"
    seal, unseal = _forms(cipher, plain_kind, context)
    made = Built("text", seal, unseal) if at_field else Built(plain_kind, unseal, seal)
    if parameter.deterministic:
        return made
    steady = "say `deterministic: true`"
    if at_field and not context.is_key:
        steady += ", or encrypt the column (`at: column`)"
    return replace(made, random="decode" if at_field else "encode", steady=steady)


def _forms(cipher: _Cipher, kind: Kind, context: Context) -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    if kind == "bytes":
        return cipher.encrypt, cipher.decrypt

    def seal(value: str) -> str:
        return cipher.encrypt(value.encode())

    def unseal(text: str) -> str:
        try:
            return cipher.decrypt(text).decode()
        except UnicodeDecodeError:
            context.refuse(text, "was not a text before it was encrypted")

    return seal, unseal


TRANSFORMS: Final = (
    Transform(
        "mask",
        "Keeps the beginning and the end: 13812345678 to 138****5678. One-way.",
        Mask | None,
        _mask,
        invertible=False,
        example="{first: 3, last: 4}",
    ),
    Transform(
        "hash",
        "A keyed hash (HMAC-SHA256): equal values stay equal and cannot be read. One-way.",
        Hash,
        _hash,
        invertible=False,
        example='{key: "${HASH_KEY}"}',
    ),
    Transform(
        "encrypt",
        "Authenticated encryption: the field, or with `at: column` the column, holds the ciphertext. The first key writes, all read.",
        Encrypt,
        _encrypt,
        example='{keys: {k1: "${KEY_1}"}}',
    ),
)
