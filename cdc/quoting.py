"""Identifiers and literals in the statements that doctor and halts print, and doctor runs. Pure."""

from __future__ import annotations

from transforms.tables import Engine


def quote(engine: Engine, *parts: str) -> str:
    """`a`.`b` on MySQL and MariaDB, "a"."b" on PostgreSQL."""
    mark = '"' if engine == "postgresql" else "`"
    return ".".join(f"{mark}{part.replace(mark, mark * 2)}{mark}" for part in parts)


def account(user_at_host: str) -> str:
    """CURRENT_USER() as a GRANT wants it: `'user'@'host'`."""
    user, _, host = user_at_host.rpartition("@")
    return f"{literal(user)}@{literal(host)}"


def literal(text: str) -> str:
    """A string in single quotes, for names and settings of the doctor's own; never for row values."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
