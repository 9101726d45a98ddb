"""Value types of the configuration: sizes, durations, database URLs, listen addresses. Each error is one plain sentence."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, SecretStr

from transforms.kinds import SUCH_AS, Kind, from_literal
from transforms.specs import TIMES, FieldTypeName
from transforms.tables import Engine

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?")
_UNITS: Final = {
    "": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_SECOND_UNITS: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}
_ENGINES: Final[dict[str, Engine]] = {
    "mysql": "mysql", "mariadb": "mariadb", "postgresql": "postgresql", "postgres": "postgresql",
}  # fmt: skip
_PORTS: Final = {"mysql": 3306, "mariadb": 3306, "postgresql": 5432}
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\.?")


def parse_bound(written: object, field_type: FieldTypeName | None) -> object:
    """A `minimum` or `maximum`: of the field's own type where that is a time, else a number. ValueError says what it must be."""
    if written is None:
        return None
    kind: Kind = next((kind for kind in TIMES if kind == field_type), "decimal")
    try:
        return from_literal(kind, written)
    except ValueError:  # it tells the value, which may come from the environment
        raise ValueError(f"must be a {kind}{SUCH_AS[kind]}" if kind in SUCH_AS else "must be a number") from None


def parse_size(written: object) -> int:
    """`1GiB`, `500MB`, `1048576` as bytes."""
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    match = _SIZE.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("not a size such as 1GiB, 500MB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2] or ""]) if "." in match[1] else int(match[1]) * _UNITS[match[2] or ""]


def parse_seconds(written: object) -> float:
    """`30s`, `500ms`, `5m`, `2h` or a number of seconds."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        return float(written)
    match = _SECONDS.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("not a duration such as 30s, 500ms, 5m or a number of seconds")
    return float(match[1]) * _SECOND_UNITS[match[2] or ""]


def _plain_value(written: object) -> object:
    if written is None or isinstance(written, bool | int | float | str):
        return written
    raise ValueError("must be a plain value: a text, a number, true, false or null")


def _step(written: object) -> object:
    one = isinstance(written, dict) and len(written) == 1 and isinstance(next(iter(written)), str)
    if one or isinstance(written, str):
        return written
    raise ValueError("each transform is a name, or one name with its parameter ({suffix: 元})")


Size = Annotated[int, BeforeValidator(parse_size)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
Scalar = Annotated[bool | int | float | str | None, BeforeValidator(_plain_value)]
TransformStep = Annotated[str | dict[str, Any], BeforeValidator(_step)]


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A channel's database, taken apart; of SQLite `database` is the file, the rest is empty. The password never shows."""

    engine: Engine
    host: str
    port: int
    user: str
    database: str
    password: SecretStr = field(default_factory=lambda: SecretStr(""), repr=False)

    def __str__(self) -> str:
        if self.engine == "sqlite":
            return f"sqlite:///{self.database}"
        return f"{self.engine}://{self.user}@{self.host}:{self.port}/{self.database}"


def parse_database_url(written: object) -> DatabaseUrl:
    """`engine://user:password@host:port/database`, with everything but the port given; or `sqlite:///file`."""
    if not isinstance(written, str):
        raise ValueError("not a URL such as mysql://user:password@host:3306/database")  # noqa: TRY004 - pydantic's way
    if written.startswith("sqlite:"):
        return _parse_sqlite_url(written)
    try:
        parts = urlsplit(written)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a valid URL: encode special characters, or take the password from ${NAME}") from None
    engine = _ENGINES.get(parts.scheme)
    if engine is None:
        raise ValueError("the URL must begin with mysql://, mariadb://, postgresql:// or sqlite:///")
    if parts.query:
        names = ", ".join(sorted({option.partition("=")[0] for option in parts.query.split("&")}))
        raise ValueError(f"the URL has options ({names}), which are not supported: use tls: for TLS")
    if parts.fragment:
        raise ValueError("the URL holds a '#': write it as %23")
    if not host or not _valid_host(host):
        raise ValueError("the URL names no valid host")
    user = unquote(parts.username or "")
    if not user:
        raise ValueError("the URL names no user")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise ValueError("the URL must end with one database name, such as /shop")
    return DatabaseUrl(engine, host, port or _PORTS[engine], user, database, SecretStr(unquote(parts.password or "")))


def _parse_sqlite_url(written: str) -> DatabaseUrl:
    """`sqlite:///relative/file` or `sqlite:////absolute/file`."""
    path = unquote(written.removeprefix("sqlite:///"))
    if not written.startswith("sqlite:///") or not path.strip("/") or path == ":memory:" or "?" in written:
        raise ValueError("sqlite needs a file and nothing else, such as sqlite:///var/report.db")
    return DatabaseUrl("sqlite", "", 0, "", path)


def _valid_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(host) is not None


def _url_of(written: Any, schemes: tuple[str, ...]) -> SecretStr:
    text = written.get_secret_value() if isinstance(written, SecretStr) else written
    if not isinstance(text, str):
        raise ValueError(f"not a URL that begins with {schemes[0]}://")  # noqa: TRY004 - pydantic's way
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("not a valid URL: encode special characters, or take the password from ${NAME}") from None
    if parts.scheme not in schemes or "://" not in text:
        raise ValueError(f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return SecretStr(text)


def parse_redis_url(written: object) -> SecretStr:
    """A Redis URL: `redis://[user:password@]host:port/database`."""
    url = _url_of(written, ("redis", "rediss"))
    if not urlsplit(url.get_secret_value()).hostname:
        raise ValueError("the URL names no host")
    return url


def parse_store_url(written: object) -> SecretStr:
    """The hub store's URL: `sqlite:///file` or `postgresql://...`."""
    url = _url_of(written, ("sqlite", "postgresql"))
    if url.get_secret_value().startswith("sqlite:") and not urlsplit(url.get_secret_value()).path.strip("/"):
        raise ValueError("sqlite needs a file, such as sqlite:///var/datong.db")
    return url


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8080` or `[::1]:8080` as host and port."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("not an address such as 127.0.0.1:8080")
    if not _valid_host(host):
        raise ValueError("not an address such as 127.0.0.1:8080")
    return host, int(port)
