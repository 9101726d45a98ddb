"""The documentation is held to the code: keys, codes, transforms, commands, metrics and log events that exist are named in both languages."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from cdc.cli import arguments
from cdc.readers import mysql_server
from config.load import parse
from config.models import Section
from transforms import registry

ROOT: Final = Path(__file__).parents[2]
LANGUAGES: Final = ("docs", "docs/zh-CN")
READMES: Final = ("README.md", "README.zh-CN.md")
NAMES: Final = ("how-it-works.md", "configuration.md", "operations.md", "halts.md")
PAGES: Final = (*READMES, *(f"{folder}/{name}" for folder in LANGUAGES for name in NAMES))

_LINK: Final = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_FENCE: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SECRETS: Final = {"WEBSITE_PASSWORD": "w", "MINIAPP_PASSWORD": "m", "DATONG_ADMIN_TOKEN": "t"}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its fenced blocks, where # is a comment and brackets are lists."""
    return _FENCE.sub("", text(page))


def headings(page: str) -> list[tuple[int, str]]:
    return [(len(marks), title) for marks, title in _HEADING.findall(prose(page))]


def anchors(page: str) -> set[str]:
    """Headings as a Git forge turns them into anchors: lower case, no punctuation, dashes for spaces."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(page)}


def blocks(page: str, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(text(page)) if found == language]


def calls(*folders: str) -> Iterator[ast.Call]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def words_of(node: ast.expr) -> Iterator[str]:
    """The text constants that an argument may be: itself, or either branch of a condition."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from words_of(node.body)
        yield from words_of(node.orelse)


def sections(section: type[Section] = Section) -> Iterator[type[Section]]:
    for inner in section.__subclasses__():
        yield inner
        yield from sections(inner)


def configuration_keys() -> set[str]:
    return {name for section in sections() for name in section.model_fields}


def halt_codes() -> set[str]:
    raised = [call for call in calls("cdc", "sinks") if ast.unparse(call.func).endswith("HaltError")]
    literal = {code for call in raised if call.args for code in words_of(call.args[0])}
    of_settings = {code for _, _, code, _ in mysql_server._SETTINGS}
    return literal | of_settings


def log_events() -> set[str]:
    told = (
        call
        for call in calls("cdc", "sinks")
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in {"info", "warning", "error"}
        and ast.unparse(call.func.value) == "log"
    )
    return {event for call in told if call.args for event in words_of(call.args[0])}


def commands() -> tuple[set[str], set[str]]:
    """Those that `--help` lists, and all that are known: some only say that they are not built yet."""
    parser = arguments._parser()
    groups = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {action.dest for action in groups._get_subactions()}, set(groups.choices)


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    links = _LINK.findall(prose(page))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_no_public_host_is_named(page: str) -> None:
    assert re.findall(r"\b[a-z0-9-]+\.(?:org|com|net|io|dev|cn)\b", text(page)) == []


@pytest.mark.parametrize("folder", LANGUAGES)
def test_every_configuration_key_is_explained(folder: str) -> None:
    keys = configuration_keys()
    assert {"max_transaction_rows", "bookkeeping", "transforms", "hung_after"} <= keys
    page = text(f"{folder}/configuration.md")
    assert sorted(key for key in keys if f"`{key}`" not in page) == []


@pytest.mark.parametrize("folder", LANGUAGES)
def test_every_transform_is_explained(folder: str) -> None:
    names = set(registry.builtin())
    page = text(f"{folder}/configuration.md")
    assert sorted(name for name in names if f"`{name}`" not in page) == []


@pytest.mark.parametrize("folder", LANGUAGES)
def test_every_halt_is_explained(folder: str) -> None:
    codes = halt_codes()
    assert {"POSITION_PURGED", "SLOT_LOST", "LOG_METADATA", "TABLE_MISSING"} <= codes
    page = text(f"{folder}/halts.md")
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


@pytest.mark.parametrize("folder", LANGUAGES)
def test_no_halt_is_explained_that_does_not_exist(folder: str) -> None:
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", text(f"{folder}/halts.md"), re.MULTILINE))
    assert sorted(explained - halt_codes()) == []


@pytest.mark.parametrize("folder", LANGUAGES)
def test_every_metric_and_every_log_event_is_named(folder: str) -> None:
    page = text(f"{folder}/operations.md")
    metrics = set(re.findall(r'"(datong_[a-z_]+)"', text("cdc/admin/metrics.py")))
    assert "datong_up" in metrics
    assert sorted(name for name in metrics if f"`{name}" not in page) == []
    events = log_events()
    assert {"halted", "row_parked", "service.started"} <= events
    assert sorted(event for event in events if f"`{event}`" not in page) == []


@pytest.mark.parametrize("readme", READMES)
def test_every_command_is_named_and_no_other(readme: str) -> None:
    listed, known = commands()
    assert "doctor" in listed
    assert sorted(name for name in listed if f"`datong {name}" not in text(readme)) == []
    shown = {name for page in PAGES for name in re.findall(r"`datong ([a-z]+)", prose(page))}
    assert sorted(shown - known) == []
    for name in known - listed:  # they are in the section of what is not there yet
        assert f"`{name}`" in text(readme)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_is_a_target(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9]+)", text(page))) <= targets


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_shows_both_commands(readme: str) -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"`(make (?:demo|test))`", text(readme)))


@pytest.mark.parametrize("readme", READMES)
def test_the_first_configuration_is_good(readme: str) -> None:
    (snippet,) = [body for body in blocks(readme, "yaml") if body.startswith("version:")]
    configuration = parse(snippet, _SECRETS)
    assert set(configuration.mappings) == {"website.members", "miniapp.users"}


@pytest.mark.parametrize("page", PAGES)
def test_yaml_blocks_are_yaml(page: str) -> None:
    for body in blocks(page, "yaml"):
        assert YAML(typ="safe").load(body)


@pytest.mark.parametrize("page", [READMES[0], *(f"docs/{name}" for name in NAMES)])
def test_both_languages_have_the_same_shape(page: str) -> None:
    """Headings and code names match one to one: what is said in one language only would be missed by half of the readers."""
    other = READMES[1] if page == READMES[0] else page.replace("docs/", "docs/zh-CN/")
    assert [level for level, _ in headings(page)] == [level for level, _ in headings(other)]
    rows = [re.findall(r"^\| `([^`]+)`", text(each), re.MULTILINE) for each in (page, other)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("folder", LANGUAGES)
def test_the_examples_of_transforms_have_good_parameters(folder: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*`([^`]+)` \|$", text(f"{folder}/configuration.md"), re.MULTILINE)
    examples = {name: YAML(typ="safe").load(written) for name, written in rows if name in registry.builtin()}
    assert set(examples) >= set(registry.builtin())
    for name, example in examples.items():
        parameter = example.get(name) if isinstance(example, dict) else None
        assert example == name or name in example
        registry.checked_parameter(registry.known(name), parameter)
