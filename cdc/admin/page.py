"""The admin page as HTML, in the reader's language. Everything that is not our own text is escaped; no inline handler, no foreign source.

The whole page and its changing part are made by the same functions: the script only asks for the part anew.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs

from cdc.admin.board import Board
from cdc.admin.exchange import Exchange
from cdc.admin.texts import TEXTS, Language, preferred
from cdc.supervisor.snapshot import readable_position

ENABLED_WARNING: Final = "what happened in this mapping while it was disabled is not copied: it goes on from now"

_CSS: Final = resources.files("cdc.admin").joinpath("static/page.css").read_text(encoding="utf-8")
_JS: Final = resources.files("cdc.admin").joinpath("static/page.js").read_text(encoding="utf-8")
_LOGO: Final = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" '
    'stroke-linejoin="round" aria-hidden="true"><path d="M4 9h13l-4-4"/><path d="M20 15H7l4 4"/></svg>'
)


_LANGUAGES: Final[dict[str, Language]] = {"en": "en", "zh": "zh"}


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_hash(_CSS)}'; script-src 'sha256-{_hash(_JS)}'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class View:
    board: Board
    csrf: str
    language: Language

    def say(self, name: str) -> str:
        return escape(TEXTS[self.language][name])


def chosen_language(exchange: Exchange) -> Language | None:
    return _LANGUAGES.get(parse_qs(exchange.query).get("language", [""])[-1])


def language_of(exchange: Exchange) -> Language:
    """What was just chosen, else what was chosen once, else what the browser asks for."""
    kept = _LANGUAGES.get(exchange.cookie("datong_language"))
    return chosen_language(exchange) or kept or preferred(exchange.header("accept-language"))


def login(language: Language, *, failed: bool) -> str:
    text = {name: escape(value) for name, value in TEXTS[language].items()}
    wrong = f'<p class="failed" role="alert">{text["login_failed"]}</p>' if failed else ""
    return _document(
        language,
        f"""<div class="login"><form method="post" action="/login">
<div class="brand">{_LOGO}<span>{text["title"]}</span></div>
<h1>{text["login_title"]}</h1><p>{text["login_hint"]}</p>
<label for="token">{text["login_label"]}</label>
<input id="token" name="token" type="password" required autofocus autocomplete="current-password">{wrong}
<button class="button primary">{text["login_button"]}</button>
</form></div>""",
    )


def whole(view: View, *, logged_in: bool) -> str:
    deployment = view.board.snapshot.access.deployment
    other: Language = "en" if view.language == "zh" else "zh"
    leave = (
        f'<form method="post" action="/logout">{_csrf(view)}<button class="plain">{view.say("logout")}</button></form>'
        if logged_in
        else ""
    )
    return _document(
        view.language,
        f"""<header class="top"><div class="brand">{_LOGO}<span>{view.say("title")}</span></div>
<span class="deployment">{escape(deployment)}</span><span class="spring"></span>
<a href="/?language={other}" lang="{other}">{view.say("other_language")}</a>{leave}</header>
<main id="content">{content(view)}</main><script>{_JS}</script>""",
    )


def _document(language: Language, body: str) -> str:
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{TEXTS[language]["title"]}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_CSS}</style></head><body>{body}</body></html>"
    )


def content(view: View) -> str:
    """The part that changes."""
    document = view.board.snapshot.status
    return "".join(
        (
            _verdict(view, document),
            _numbers(view, document["channels"]),
            _channels(view, document["channels"]),
            _mappings(view, document["mappings"], document["configuration"]),
        )
    )


def _verdict(view: View, document: dict[str, Any]) -> str:
    health = view.board.health
    reasons = list(document["reasons"])
    for name, roles in document["channels"].items():
        for kind in ("capture", "apply"):
            role = roles[kind]
            if role and role["status"] != "ok" and role["reason"]:
                reasons.append(f"{name} · {TEXTS[view.language][kind]}: {role['reason']}")
    lines = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return (
        f'<div class="verdict {health}" role="status"><span class="dot"></span><div><h1>{view.say(f"status_{health}")}</h1>'
        f'{f"<ul>{lines}</ul>" if lines else ""}</div><span class="beat">{view.say("updated")}</span></div>'
    )


def _numbers(view: View, channels: dict[str, Any]) -> str:
    captures = [roles["capture"] for roles in channels.values() if roles["capture"]]
    applies = [roles["apply"] for roles in channels.values() if roles["apply"]]
    parked = sum(role["parked"] for role in applies)
    lag = max((role["lag_seconds"] for role in (*captures, *applies)), default=0.0)
    return f"""<div class="numbers">
{_number(view, sum(role["rows"] for role in captures), "captured", sum(role["rows_per_second"] for role in captures))}
{_number(view, sum(role["rows"] for role in applies), "applied", sum(role["rows_per_second"] for role in applies))}
<div class="number"><b>{_seconds(lag)}</b><span>{view.say("largest_lag")}</span></div>
<div class="number{" warn" if parked else ""}"><b>{parked:,}</b><span>{view.say("parked")}</span></div></div>"""


def _number(view: View, amount: int, label: str, rate: float) -> str:
    return f'<div class="number"><em>{_rate(view, rate)}</em><b>{amount:,}</b><span>{view.say(label)}</span></div>'


def _channels(view: View, channels: dict[str, Any]) -> str:
    heads = ("channel", "role", "state", "lag", "rows", "rate", "position")
    rows = []
    for name, roles in channels.items():
        present = [kind for kind in ("capture", "apply") if roles[kind]]
        for kind in present:
            first = kind == present[0]
            title = f'<td class="name" rowspan="{len(present)}">{escape(name)}</td>' if first else ""
            rows.append(
                f'<tr class="{"first" if first else "more"}">{title}{_role(view, name, kind, roles[kind])}</tr>'
            )
    if not rows:
        return f'<section><h2>{view.say("channels")}</h2><p class="note">{view.say("nothing")}</p></section>'
    return _sheet(view, "channels", heads, rows)


def _role(view: View, channel: str, kind: str, role: dict[str, Any]) -> str:
    paused = role["state"] == "paused"
    reason = f'<span class="reason">{escape(role["reason"])}</span>' if role["reason"] else ""
    if kind == "capture":
        position = escape(readable_position(role["position"]))
        title = f"{view.say('echoes')}: {role['echoes']:,} · {view.say('retained')}: {_bytes(role['retained_bytes'])}"
    else:
        position = ", ".join(escape(f"{source} {at}") for source, at in sorted(role["positions"].items()))
        title = position
    fields = {"channel": channel, "role": kind, "paused": "false" if paused else "true"}
    return (
        f'<td class="small">{view.say(kind)}</td>'
        f'<td><span class="state {role["status"]}">{view.say(role["state"])}</span>{reason}</td>'
        f'<td class="amount">{_seconds(role["lag_seconds"])}</td><td class="amount">{role["rows"]:,}</td>'
        f'<td class="amount small">{_rate(view, role["rows_per_second"])}</td>'
        f'<td><div class="mono" title="{title}">{position}</div></td>'
        f'<td class="act">{_form(view, "/page/pause", fields, view.say("resume" if paused else "pause"))}</td>'
    )


def _mappings(view: View, mappings: dict[str, Any], configuration: dict[str, Any]) -> str:
    heads = ("mapping", "channel", "table", "entity", "direction", "switch")
    rows = [_mapping(view, name, mapping) for name, mapping in sorted(mappings.items())]
    loaded = datetime.fromtimestamp(configuration["loaded_at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    note = f'<p class="note">{view.say("enabled_note")} {view.say("loaded")} {loaded}</p>'
    return _sheet(view, "mappings", heads, rows, note)


def _mapping(view: View, name: str, mapping: dict[str, Any]) -> str:
    on = mapping["enabled"]
    ask = "" if not on else TEXTS[view.language]["confirm_off"].format(name=name)
    fields = {"mapping": name, "enabled": "false" if on else "true"}
    return (
        f'<tr><td class="name">{escape(name)}</td><td>{escape(mapping["channel"])}</td>'
        f'<td class="small">{escape(mapping["table"])}</td><td>{escape(mapping["entity"])}</td>'
        f'<td class="small">{view.say(mapping["direction"])}</td>'
        f'<td><span class="state {"ok" if on else "off"}">{view.say("on" if on else "off")}</span></td>'
        f'<td class="act">{_form(view, "/page/toggle", fields, view.say("turn_off" if on else "turn_on"), ask)}</td></tr>'
    )


def _sheet(view: View, title: str, heads: tuple[str, ...], rows: list[str], note: str = "") -> str:
    amounts = {"lag", "rows", "rate"}
    cells = "".join(f"<th{' class=amount' if head in amounts else ''}>{view.say(head)}</th>" for head in heads)
    return (
        f'<section><h2>{view.say(title)}</h2><div class="sheet"><table><thead><tr>{cells}<th></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}</section>"
    )


def _form(view: View, action: str, fields: dict[str, str], label: str, ask: str = "") -> str:
    hidden = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())
    asking = f' data-ask="{escape(ask)}"' if ask else ""
    return f'<form method="post" action="{action}"{asking}>{_csrf(view)}{hidden}<button class="button">{label}</button></form>'


def _csrf(view: View) -> str:
    return f'<input type="hidden" name="csrf" value="{escape(view.csrf)}">'


def _rate(view: View, rate: float) -> str:
    return (
        f"{rate:,.0f} {view.say('per_second')}" if rate >= 10 or rate == 0 else f"{rate:.1f} {view.say('per_second')}"
    )


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(amount: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
