"""From row changes in a channel's form to changes in the dictionary's form. Pure. Guards I6 (nothing bent), L4 (no-ops drop).

Rows of one table and operation are decoded together, column by column, wherever they stand in a batch of the log. A row that cannot
be decoded becomes a change with `refused` set: appliers park it, nobody skips it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.rows import RowPlan, Stretch, row_plan
from cdc.model import Change, Layout, RowChange
from transforms.compiled import MappingRefusedError
from transforms.specs import MappingSpec
from transforms.tables import Table


class Decoded:
    """What one part's rows are in the dictionary's form; `error`: a table that no longer fits its mapping is among them.

    `layouts` are numbered as they appear. Slotted and bare: there is one for each transaction.
    """

    __slots__ = ("changes", "error", "layouts")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.layouts: list[Layout] = []
        self.error: MappingRefusedError | None = None

    def number(self, layout: Layout) -> int:
        """A layout's number within the part."""
        layouts = self.layouts
        if layouts and layouts[-1] is layout:
            return len(layouts) - 1  # the usual case; comparing layouts costs more than a change
        if layout not in layouts:
            layouts.append(layout)
        return layouts.index(layout)


class Decoder:
    """Decodes rows by the enabled mappings of a channel; compiles once per table layout that the log shows."""

    def __init__(self, mappings: Sequence[MappingSpec], default_schema: str) -> None:
        self._mappings: dict[tuple[str, str], list[MappingSpec]] = {}
        for spec in mappings:
            self._mappings.setdefault((spec.schema or default_schema, spec.table), []).append(spec)
        self._plans: dict[int, tuple[Table, tuple[RowPlan, ...]]] = {}

    def decode(self, parts: Sequence[Sequence[RowChange]]) -> list[Decoded]:
        """The changes of every part, in its own order."""
        decoded = [Decoded() for _ in parts]
        rows = [row for part in parts for row in part]
        if not rows:
            return decoded
        groups: dict[tuple[int, str], list[int]] = {}
        for at, row in enumerate(rows):
            groups.setdefault((id(row.table), row.op), []).append(at)
        owners = [of for part, of in zip(parts, decoded, strict=True) for _ in part]
        found: list[Change | None] = [None] * len(rows)
        shared: dict[int, list[tuple[RowPlan, Change]]] = {}  # of a table that several mappings share
        for places in groups.values():
            try:
                plans = self._plans_of(rows[places[0]].table)
            except MappingRefusedError as error:
                for at in places:
                    owners[at].error = error
                continue
            group = rows if len(places) == len(rows) else [rows[at] for at in places]
            for plan in plans:
                stretches = plan.decode(group)
                if group is rows and len(plans) == 1 and _in_one_stretch(stretches, rows, parts, decoded):
                    return decoded
                for stretch in stretches:
                    layout = stretch.layout
                    for at, op, key, values, before in stretch.rows:
                        place = places[at]
                        number_of = owners[place].number(layout)
                        change = Change(number_of, op, rows[place].index, key, values, before, stretch.refused)
                        if len(plans) == 1:
                            found[place] = change
                        else:
                            shared.setdefault(place, []).append((plan, change))
        for at, (of, one) in enumerate(zip(owners, found, strict=True)):
            if one is not None:
                of.changes.append(one)
            elif shared and at in shared:
                of.changes.extend(_of_one_row(rows[at], of, shared[at]))
        return decoded

    def _plans_of(self, table: Table) -> tuple[RowPlan, ...]:
        """Raises transforms.MappingRefusedError when the table no longer fits a mapping."""
        known = self._plans.get(id(table))
        if known is not None and known[0] is table:
            return known[1]
        plans = tuple(row_plan(spec, table) for spec in self._mappings.get((table.schema, table.name), ()))
        self._plans[id(table)] = (table, plans)
        return plans


def _of_one_row(row: RowChange, of: Decoded, told: list[tuple[RowPlan, Change]]) -> list[Change]:
    """What the mappings of one table say of one row. Where it leaves one for another of the same entity it lives on: an update.

    A delete and an insert would take along what refers to the row elsewhere, and columns that nobody maps.
    """
    rest = [(plan, change) for plan, change in told if change.op != "delete"]
    ends = []
    for old, end in told:
        if end.op != "delete":
            continue
        for at, (new, begin) in enumerate(rest):
            if begin.op != "insert" or new.entity != old.entity or end.refused is not None or row.before is None:
                continue
            before = old.values_of(row.before, of.layouts[begin.layout].fields)
            if not before and new.counters and begin.refused is None:
                continue  # what a counter held before is not known: the row is told anew
            lives_on = Change(begin.layout, "update", row.index, end.key, begin.values, before, begin.refused)
            rest[at] = (new, lives_on)
            break
        else:
            ends.append(end)
    return [*ends, *(change for _, change in rest)]


def _in_one_stretch(
    stretches: Sequence[Stretch],
    rows: Sequence[RowChange],
    parts: Sequence[Sequence[RowChange]],
    decoded: Sequence[Decoded],
) -> bool:
    """Hand out a batch whose rows are all of one layout, as most are: each part has a slice of it. False: it is another one."""
    if len(stretches) != 1:
        return False
    (stretch,) = stretches
    if [row[0] for row in stretch.rows] != list(range(len(rows))):
        return False
    refused, layout = stretch.refused, stretch.layout
    changes = [
        Change(0, op, row.index, key, values, before, refused)
        for row, (_, op, key, values, before) in zip(rows, stretch.rows, strict=True)
    ]
    end = 0
    for part, of in zip(parts, decoded, strict=True):
        if part:
            start, end = end, end + len(part)
            of.changes, of.layouts = changes[start:end], [layout]
    return True
