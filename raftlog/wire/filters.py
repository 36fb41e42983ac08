"""Filters: which records of a batch somebody wants (ruling 11).

A filter is a set of tags, a condition over headers and the tag, or both, and then both must
hold. Tags lie in the record table, which is never compressed: no codec is needed for them.
Headers lie in the payload, so a condition over them opens it, off the hot path and never to
decide about state.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadFilter
from raftlog.base.limits import FILTER_CHARACTERS_MAX, FILTER_TAGS_MAX, TAG_CHARACTERS_MAX
from raftlog.wire.batch import Batch, Headers, parse_batch_header
from raftlog.wire.batch_header import table_of
from raftlog.wire.filter_conditions import Condition, Name, Special
from raftlog.wire.filter_language import read_condition
from raftlog.wire.record_table import parse_table

_Tag = Annotated[str, msgspec.Meta(max_length=TAG_CHARACTERS_MAX)]


class RecordFilter(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is wanted: records with one of the tags that meet the condition.

    Attributes:
        tags: In order, each once; none: whatever the tag.
        condition: In the filter language, over headers and the tag; "": whatever they are.
    """

    tags: Annotated[tuple[_Tag, ...], msgspec.Meta(max_length=FILTER_TAGS_MAX)] = ()
    condition: Annotated[str, msgspec.Meta(max_length=FILTER_CHARACTERS_MAX)] = ""

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.tags or self.condition)

    def __str__(self) -> str:
        """Show it to people."""
        parts = []
        if self.tags:
            parts.append(f"tags {', '.join(self.tags)}")
        if self.condition:
            parts.append(f"filter {self.condition}")
        return "; ".join(parts) or "no filter"


EVERYTHING: Final = RecordFilter()


def record_filter(tags: Sequence[str] = (), condition: str = "") -> RecordFilter:
    """Return a filter as it is written everywhere, after a look at all of it.

    Raises:
        BadFilter: Too many tags, one that is too long, or a condition that does not parse.
    """
    distinct = tuple(sorted(set(tags)))
    if len(distinct) > FILTER_TAGS_MAX:
        raise BadFilter(f"a filter of {len(distinct)} tags; it may have {FILTER_TAGS_MAX}")
    for tag in distinct:
        if len(tag) > TAG_CHARACTERS_MAX:
            raise BadFilter(f"a tag of {len(tag)} characters; {TAG_CHARACTERS_MAX} at most")
    wanted = RecordFilter(distinct, condition.strip())
    selector_of(wanted)
    return wanted


class Selection(NamedTuple):
    """What was picked of one batch: numbers of records, in order, and the bytes looked into."""

    numbers: Sequence[int]
    opened: int


Selector = Callable[[Buffer], Selection]
"""Picks the records of a batch that are wanted, and raises ``BadBatch``, ``RecordTooLarge``
or ``CodecUnavailable`` for a batch that can't be looked into."""


@lru_cache(maxsize=256)
def selector_of(wanted: RecordFilter) -> Selector:
    """Return what picks the records that a filter wants.

    Raises:
        BadFilter: Its condition does not parse.
    """
    tags = frozenset(wanted.tags)
    if not wanted.condition:
        return lambda batch: _tagged(batch, tags)
    condition, names = read_condition(wanted.condition)
    if names == {Special.TAG}:
        return lambda batch: _meeting_by_tag(condition, batch, _tagged(batch, tags))

    def select(batch: Buffer) -> Selection:
        candidates = _tagged(batch, tags)
        if not candidates.numbers:
            return candidates
        opened = Batch(batch)
        numbers = _meeting(condition, names, opened, candidates.numbers)
        return Selection(numbers, candidates.opened + opened.payload_bytes)

    return select


def _tagged(batch: Buffer, tags: frozenset[str]) -> Selection:
    if not tags:
        return Selection(range(parse_batch_header(batch).count), 0)
    found = _tags_of(batch)
    numbers = [number for number, tag in enumerate(found.tags) if tag in tags]
    return Selection(numbers, found.looked_into)


class _Tags(NamedTuple):
    """The tags of a batch by the numbers of its records, none if it has none, and their bytes."""

    tags: Sequence[str | None]
    looked_into: int


def _tags_of(batch: Buffer) -> _Tags:
    header = parse_batch_header(batch)
    if not header.table_length:
        return _Tags((), 0)
    table = parse_table(table_of(batch, header.table_length), header.count)
    return _Tags(table.tags or (), header.table_length)


def _meeting_by_tag(condition: Condition, batch: Buffer, candidates: Selection) -> Selection:
    """Pick what meets a condition that looks at nothing but the tag: it needs no codec."""
    tags, looked_into = _tags_of(batch)

    @cache
    def holds(tag: str | None) -> bool:
        return condition.holds({Special.TAG: tag}) is True

    numbers = [n for n in candidates.numbers if holds(tags[n] if tags else None)]
    return Selection(numbers, max(candidates.opened, looked_into))


def _meeting(
    condition: Condition, names: frozenset[Name], batch: Batch, candidates: Sequence[int]
) -> Sequence[int]:
    headers = batch.headers()
    plain = condition.holds({}) is True
    """What holds for a record without headers and tag."""
    tags = batch.tags if Special.TAG in names else ()
    if all(tag is None for tag in tags):
        return [
            number
            for number in candidates
            if (condition.holds(_texts(headers[number], names)) if number in headers else plain)
        ]
    found = []
    for number in candidates:
        texts = _texts(headers.get(number, ()), names)
        texts[Special.TAG] = tags[number]
        if condition.holds(texts):
            found.append(number)
    return found


def _texts(headers: Headers, names: frozenset[Name]) -> dict[Name, str | None]:
    """Return the wanted headers as text; of several of one name the last one."""
    texts: dict[Name, str | None] = {}
    for name, value in headers:
        if name in names:
            try:
                texts[name] = value.decode()
            except UnicodeDecodeError:
                texts[name] = None
    return texts
