"""Filters that are asked for, and what they mean: found out by other code than the product's."""

from typing import Final, NamedTuple

from chaos.check.filtered_leases import anything
from chaos.check.filtered_reads import Wish
from raftlog.wire.filters import RecordFilter
from raftlog.wire.schema import client


class Wanted(NamedTuple):
    """A filter, and what it means."""

    filter: client.RecordFilter
    wish: Wish


WISHES: Final = (
    Wanted(client.RecordFilter(tags=["third"]), lambda record: record.tag == "third"),
    Wanted(
        client.RecordFilter(condition="n < 3 OR n IS NULL"),
        lambda record: not record.headers or int(record.headers[0][1]) < 3,
    ),
    Wanted(
        client.RecordFilter(tags=["third", "other"], condition="NOT n BETWEEN 2 AND 8"),
        lambda record: (
            record.tag == "third"
            and bool(record.headers)
            and not 2 <= int(record.headers[0][1]) <= 8
        ),
    ),
)


def wish_of(wanted: RecordFilter | None) -> Wish:
    """Return what a filter means: one of ``WISHES``, or none."""
    if not wanted:
        return anything
    return next(
        each.wish
        for each in WISHES
        if (tuple(sorted(each.filter.tags)), each.filter.condition)
        == (wanted.tags, wanted.condition)
    )
