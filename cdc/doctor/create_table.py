"""Columns as SHOW CREATE TABLE of MySQL and MariaDB writes them. Pure."""

from __future__ import annotations

from cdc.foreign_keys import bare, lines


def column_lines(created: str) -> dict[str, str]:
    """Column -> its whole definition: what MODIFY has to repeat."""
    return {bare(line.split("` ")[0] + "`"): line for line in lines(created) if line.startswith("`")}
