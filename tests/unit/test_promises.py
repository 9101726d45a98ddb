"""What the dictionary promises without a declared bound, against the columns: `transforms.promises`."""

from __future__ import annotations

import decimal

import pytest

from transforms.promises import promising, unkept
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Engine, Table

POINTS = FieldSpec("points", "integer", merge="sum")


def table(column_type: ColumnType) -> Table:
    return Table(
        "shop", "members", (Column("no", ColumnType(column_type.engine, "bigint")), Column("score", column_type))
    )


def mapping(channel: str, field: FieldSpec = POINTS, *, direction="both", enabled=True, transforms=()) -> MappingSpec:
    entity = EntitySpec("member", ("no",), (FieldSpec("no", "integer"), field))
    columns = (ColumnSpec("no", "no"), ColumnSpec("score", field.name, transforms))
    return MappingSpec(
        f"{channel}.m", channel, "mysql", None, "members", entity, direction, columns, ("no",), enabled=enabled
    )


def of(name: str, engine: Engine = "mysql", **more: object) -> ColumnType:
    return ColumnType(engine, name, **more)  # type: ignore[arg-type]


def refusals(target: ColumnType, *sources: ColumnType, field: FieldSpec = POINTS, **more: object) -> list[str]:
    others = [(mapping(f"s{at}", field), table(source)) for at, source in enumerate(sources)]
    return [str(problem) for problem in unkept(mapping("t", field, **more), table(target), others)]


SMALL = of("int2", "postgresql")
ISSUE = "mappings.t.m.columns.score: column score smallint cannot hold field points: integer up to 2147483647 - add `maximum: 32767` or widen the column"


@pytest.mark.parametrize(
    "source", [of("int"), of("bigint"), of("int", unsigned=True), of("decimal", precision=12, scale=0)]
)
def test_a_smallint_is_refused_where_an_integer_of_32_bits_and_more_is_captured(source):
    assert refusals(SMALL, source) == [ISSUE]


def test_a_smallint_that_no_other_channel_fills_is_refused_on_the_dictionarys_word_alone():
    assert refusals(SMALL) == [ISSUE]


@pytest.mark.parametrize(
    ("target", "sources", "most"),
    [
        (of("tinyint"), [of("smallint")], "32767 - add `maximum: 127`"),
        (of("smallint"), [of("smallint", unsigned=True)], "65535 - add `maximum: 32767`"),
        (of("mediumint"), [of("tinyint"), of("int")], "2147483647 - add `maximum: 8388607`"),
        (of("decimal", precision=5, scale=2), [of("smallint")], "32767 - add `maximum: 999`"),
        (ColumnType("postgresql", "few", kind="domain", base=SMALL), [of("int")], "2147483647 - add `maximum: 32767`"),
    ],
)
def test_the_widest_column_that_it_is_captured_from_decides(target, sources, most):
    (told,) = refusals(target, *sources)
    assert f"integer up to {most} or widen the column" in told


@pytest.mark.parametrize(
    ("target", "source"),
    [
        (SMALL, of("smallint")), (SMALL, of("tinyint", unsigned=True)), (SMALL, of("year")), (of("year"), of("int")),
        (of("int"), of("bigint", unsigned=True)), (of("int", unsigned=True), of("int")), (of("bigint"), of("int")),
        (of("integer", "sqlite"), of("bigint")), (of("varchar", length=3), of("int")), (of("tinyint", unsigned=True), of("tinyint")),
    ],
)  # fmt: skip
def test_what_fits_and_what_no_bound_promises_is_left_to_the_value(target, source):
    assert refusals(target, source) == []


def test_a_declared_maximum_is_a_promise_of_its_own_and_one_that_only_captures_is_never_refused():
    assert refusals(SMALL, of("int"), field=FieldSpec("points", "integer", maximum=decimal.Decimal(9))) == []
    assert refusals(SMALL, of("int"), direction="capture") == []
    assert not promising(mapping("t", direction="capture"), table(SMALL))
    assert not promising(mapping("t"), table(of("int")))


def test_a_word_of_the_dictionary_that_a_postgresql_enum_lacks_is_refused():
    level = FieldSpec("level", "enum", values=("basic", "gold"))
    target = ColumnType("postgresql", "levels", kind="enum", labels=("basic",))
    (told,) = refusals(target, field=level)
    assert (
        "column score levels cannot hold field level: enum with gold - add a transform (enum), take the value out,"
        in told
    )
    assert promising(mapping("t", level), table(target))
    assert refusals(ColumnType("postgresql", "levels", kind="enum", labels=("gold", "basic")), field=level) == []
    by_number = (TransformSpec("enum", {"b": "basic", "g": "gold"}),)
    assert refusals(target, field=level, transforms=by_number) == []


def test_a_source_that_is_not_known_refuses_nothing_and_one_behind_transforms_promises_all():
    assert unkept(mapping("t"), table(SMALL), [(mapping("s"), None)]) == []
    assert unkept(mapping("t"), table(SMALL), [(mapping("s", enabled=False), table(of("int")))]) == []
    scaled = mapping("s", transforms=(TransformSpec("scale", -2),))
    assert [str(p) for p in unkept(mapping("t"), table(SMALL), [(scaled, table(of("tinyint")))])] == [ISSUE]
    only_applied = mapping("s", direction="apply")
    assert [str(p) for p in unkept(mapping("t"), table(SMALL), [(only_applied, table(of("tinyint")))])] == [ISSUE]
