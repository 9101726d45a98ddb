"""Two-way mappings come to rest, or are refused with a value that shows it."""

from __future__ import annotations

import importlib.metadata
import itertools
import time
from dataclasses import replace

import pytest

from config.load import ConfigurationRefused, load, parse
from tests.unit.test_config_coffee import ENVIRONMENT, EXAMPLES
from transforms import Built, Transform, check_mapping, compile_mapping, registry
from transforms.fixed_point import _same_offline, check_compiled, check_offline
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Table

KEYS = {"keys": {"k": "x" * 32}}


class _Point:
    def __init__(self, transform):
        self.name, self.value, self._transform = transform.name, "tests", transform

    def load(self):
        return self._transform


@pytest.fixture
def own(monkeypatch):
    """Transforms that claim a way back and do not keep it, or keep it on a smaller set of values, or never write one value twice alike."""
    counted = itertools.count()
    steps = {
        "grow": (lambda v: v, lambda v: v + "!"),
        "fold": (str.lower, str.upper),
        "swap": (str.swapcase, str.swapcase),
        "round": (lambda v: v // 10, lambda v: v * 10 + 5),
        "number": (lambda v: f"{next(counted)} {v}", lambda v: v.partition(" ")[2]),
        "salt": (lambda v: f"{next(counted)} {v}", lambda v: v.partition(" ")[2]),
        "pepper": (lambda v: v.partition(" ")[2], lambda v: f"{next(counted)} {v}"),
    }
    kinds = {"round": "integer"}
    declared = {
        "number": {"random": "decode", "steady": "say which number"},
        "salt": {"random": "decode"},
        "pepper": {"random": "encode"},
    }

    def transform(name, decode, encode):
        def build(_parameter, kind, _context):
            registry.require(kind, [kinds.get(name, "text")], name)
            return Built(kind, decode, encode, **declared.get(name, {}))

        return Transform(name, "A test.", None, build)

    points = [_Point(transform(name, *pair)) for name, pair in steps.items()]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    registry._own_entry_points.cache_clear()
    yield
    registry._own_entry_points.cache_clear()


def mapping(name, field, *steps, direction="both"):
    entity = EntitySpec("thing", ("id",), (FieldSpec("id", "integer"), field))
    made = tuple(TransformSpec(s) if isinstance(s, str) else TransformSpec(*next(iter(s.items()))) for s in steps)
    columns = (ColumnSpec("id", "id"), ColumnSpec("c", "f", made))
    return MappingSpec(f"{name}.t", name, "mysql", None, "t", entity, direction, columns, ("id",))


TEXT = FieldSpec("f", "text")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("field", "steps", "rests"),
    [
        (TEXT, ["grow"], False),
        (
            TEXT,
            ["fold"],
            False,
        ),  # Abc becomes ABC, comes back as abc, and stays; but not the Turkish capital with its dot
        (TEXT, ["swap"], True),
        (FieldSpec("f", "integer"), ["round"], True),
        (TEXT, [{"replace": {"/": "-"}}], True),
        (TEXT, [{"prefix": "SKU-"}], True),
        (TEXT, [{"phone": "CN"}], True),
        (FieldSpec("f", "enum", values=("a", "b")), [{"enum": {0: "a", 1: "b"}}], True),
        (FieldSpec("f", "decimal", scale=2), [{"suffix": "元"}, "decimal"], True),
        (FieldSpec("f", "instant"), [{"datetime": "%Y/%m/%d %H:%M"}], True),
        (FieldSpec("f", "boolean"), [{"boolean": {"true": ["Y", "y"], "false": "N"}}], True),
        (TEXT, [{"encrypt": KEYS | {"deterministic": True}}], True),
        (TEXT, [{"encrypt": KEYS}], False),
    ],
)
def test_what_a_pair_makes_of_values_decides(field, steps, rests):
    problems = check_offline([mapping("a", field), mapping("b", field, *steps)])
    assert (problems == []) == rests, problems
    if not rests:
        assert "does not come to rest with" in problems[0].message
        assert "(field f)" in problems[0].message
    assert check_offline([mapping("a", field), mapping("b", field, *steps, direction="capture")]) == []


def test_a_random_encryption_that_goes_round_is_told_how_to_stand_still():
    (problem,) = check_offline([mapping("a", TEXT), mapping("b", TEXT, {"encrypt": KEYS})])
    assert problem.path == "mappings.b.t.columns.c"
    assert (
        "say `deterministic: true`" in problem.message
        and "does not come to rest with mappings.a.t.columns.c" in problem.message
    )
    for said in ({"deterministic": True}, {"at": "column"}):
        assert check_offline([mapping("a", TEXT), mapping("b", TEXT, {"encrypt": KEYS | said})]) == []


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("step", "said"), [("number", "say which number, or give one"), ("salt", "leave it out, or give one")]
)
def test_a_transform_of_ones_own_that_says_it_is_random_is_told_as_such(step, said):
    (problem,) = check_offline([mapping("a", TEXT), mapping("b", TEXT, step)])
    assert problem.path == "mappings.b.t.columns.c"
    assert (
        f"transform {step} makes something else of the same value each time: {said} mapping direction"
        in problem.message
    )
    assert check_offline([mapping("a", TEXT, step), mapping("b", TEXT, step)]) == []


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("step", ["number", "pepper"])
def test_a_random_transform_of_ones_own_is_no_key(step):
    spec = mapping("a", TEXT, step)
    key = replace(spec, entity=replace(spec.entity, key=("f",)), key=("c",))
    (problem,) = check_mapping(key)
    assert (
        f"transform {step}: field f is in the entity's key, and one value would become another one each time"
        in problem.message
    )
    assert check_mapping(spec) == []


@pytest.mark.usefixtures("own")
def test_a_column_that_is_written_anew_each_time_comes_to_rest():
    assert check_offline([mapping("a", TEXT), mapping("b", TEXT, "pepper")]) == []


class _Silent:
    """Says nothing of itself."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Silent) and other.value == self.value

    def __hash__(self):
        return hash(self.value)

    def __repr__(self):
        return "..."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"enum": {0: "a", 1: "b"}}, {"enum": {0: "a", 1: "b"}}, True),
        ({"enum": {0: "a", 1: "b"}}, {"enum": {1: "b", 0: "a"}}, False),
        ({"enum": {1: "a"}}, {"enum": {True: "a"}}, False),
        ({"enum": {1: "a"}}, {"enum": {1.0: "a"}}, False),
        ({"enum": {1: "a"}}, {"enum": {"1": "a"}}, False),
        ({"boolean": {"true": ["Y", "y"], "false": "N"}}, {"boolean": {"true": ["Y", "y"], "false": "N"}}, True),
        ({"boolean": {"true": ["Y", "y"], "false": "N"}}, {"boolean": {"true": ["y", "Y"], "false": "N"}}, False),
        ({"replace": {"a": "b", "b": "c"}}, {"replace": {"b": "c", "a": "b"}}, False),
        ({"prefix": _Silent(1)}, {"prefix": _Silent(2)}, False),
        ({"prefix": _Silent(1)}, {"prefix": _Silent(1)}, True),
        ("lower", {"lower": "both"}, False),
    ],
)
def test_configurations_are_the_same_by_what_they_say(one, other, same):
    """Not by how they look: a field that is tried once stands for those that say the same."""
    names = [
        _same_offline([(spec, spec.columns[1], TEXT)]) for spec in (mapping("a", TEXT, one), mapping("a", TEXT, other))
    ]
    assert (names[0] == names[1]) == same
    assert len(set(names)) == 2 - same


def test_two_ends_that_encrypt_alike_come_to_rest():
    assert check_offline([mapping("a", TEXT, {"encrypt": KEYS}), mapping("b", TEXT, {"encrypt": KEYS})]) == []


@pytest.mark.usefixtures("own")
def test_the_value_that_shows_it_is_told():
    (problem,) = check_offline([mapping("a", TEXT), mapping("b", TEXT, "grow")])
    assert problem.path in ("mappings.a.t.columns.c", "mappings.b.t.columns.c")
    assert "!" in problem.message


@pytest.mark.usefixtures("own")
def test_with_catalogs_the_real_columns_are_tried():
    def compiled(name, *steps):
        table = Table(
            "s",
            "t",
            (Column("id", ColumnType("mysql", "int")), Column("c", ColumnType("mysql", "varchar", length=40))),
            ("id",),
        )
        return compile_mapping(mapping(name, TEXT, *steps), table, capture=True, apply=True)

    assert check_compiled([compiled("a"), compiled("b")]) == []
    assert check_compiled([compiled("a"), compiled("b", "grow")]) != []


@pytest.mark.usefixtures("own")
def test_a_configuration_that_does_not_come_to_rest_is_refused_as_a_whole():
    text = """
version: 1
deployment: small
channels: {a: {url: "mysql://u:p@h1/s"}, b: {url: "postgresql://u:p@h2/s"}}
entities: {thing: {key: [id], fields: {id: {type: integer}, name: {type: text}}}}
mappings:
  a.t: {channel: a, table: t, entity: thing, columns: {id: id, name: name}}
  b.t: {channel: b, table: t, entity: thing, columns: {id: id, name: {field: name, transforms: [grow]}}}
"""
    with pytest.raises(ConfigurationRefused) as refused:
        parse(text, {})
    assert [problem.path.rsplit(".", 1)[1] for problem in refused.value.problems] == ["name"]


def test_a_large_configuration_is_tried_in_less_than_a_second():
    """50 tables of 40 columns: most say what others say already."""
    steps = [
        ("text", {}), ("decimal", {"suffix": "元", "decimal": None}), ("enum", {"enum": {0: "a", 1: "b"}}), ("decimal", {"scale": 2}),
        ("instant", {"epoch": "ms"}), ("boolean", {"boolean": {"true": "Y", "false": "N"}}), ("text", {"phone": "CN"}),
        ("instant", {"datetime": "%Y-%m-%d %H:%M:%S"}), ("text", {"replace": {"/": "-"}}), ("text", {"prefix": "x"}),
    ]  # fmt: skip
    specs = []
    for table in range(50):
        fields = [FieldSpec("id", "integer")]
        columns = {"a": [ColumnSpec("id", "id")], "b": [ColumnSpec("id", "id")]}
        for number in range(39):
            field_type, step = steps[number % len(steps)]
            values = ("a", "b") if field_type == "enum" else None
            fields.append(FieldSpec(f"f{number}", field_type, values=values))
            of_a = tuple(TransformSpec(name, parameter) for name, parameter in step.items())
            columns["a"].append(ColumnSpec(f"f{number}", f"f{number}", of_a))
            columns["b"].append(ColumnSpec(f"f{number}", f"f{number}"))
        entity = EntitySpec(f"e{table}", ("id",), tuple(fields))
        specs += [
            MappingSpec(f"{channel}.t{table}", channel, "mysql", None, "t", entity, "both", tuple(columns[channel]), ("id",))
            for channel in "ab"
        ]  # fmt: skip
    began = time.process_time()
    assert check_offline(specs) == []
    assert time.process_time() - began < 1
    bad = ColumnSpec("f0", "f0", (TransformSpec("encrypt", KEYS),))  # another text each time
    last = replace(specs[-1], columns=tuple(bad if column.column == "f0" else column for column in specs[-1].columns))
    assert [problem.path for problem in check_offline([*specs[:-1], last])] == ["mappings.b.t49.columns.f0"]


def test_a_usual_configuration_is_tried_in_less_than_a_second():
    specs = load(EXAMPLES / "coffee.yaml", ENVIRONMENT).specs
    began = time.process_time()
    assert check_offline(specs) == []
    assert time.process_time() - began < 1
