"""`datong doctor`: see `cdc.doctor`."""

from __future__ import annotations

import argparse

from cdc.cli.configured import load_for


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    from cdc.doctor import examine, exit_code, fix, render, render_sql

    findings = examine(configuration)
    if options.fix:
        findings = fix(configuration, findings)
    print(render_sql(findings) if options.sql else render(findings), end="")
    return exit_code(findings)
