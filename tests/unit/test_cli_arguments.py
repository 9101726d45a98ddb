"""Wrong usage of the command line ends with exit code 2 and a plain sentence."""

from __future__ import annotations

import pytest

from cdc.cli.arguments import parse


@pytest.mark.parametrize("words", [("identity", "show"), ("identity", "forget")])
def test_bytes_that_are_no_text_are_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse([*words, b"\xff138".decode("utf-8", "surrogateescape")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "not text in UTF-8" in said and "138" not in said
    assert parse([*words, "微信"]).key == "微信"
