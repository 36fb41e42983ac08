"""Searches: which records of a batch somebody is looking for, by key, business id or filter.

All that is asked for must hold. What costs least is looked at first: an id lies in the record
table, a key's hash may, and neither is compressed; a batch is opened only for a key or a
condition over headers, and then its keys are looked at before its headers.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.wire.batch import Batch, parse_batch_header
from raftlog.wire.batch_header import table_of
from raftlog.wire.filters import EVERYTHING, RecordFilter, Selection, Selector, selector_of
from raftlog.wire.record_table import has_id, id_of, key_hash, parse_table

_NOTHING: Final = Selection((), 0)


class RecordSearch(msgspec.Struct, frozen=True):
    """What is looked for.

    Attributes:
        key: None: whatever the key.
        id: A business id; None: whatever the id.
        wanted: Tags and a condition over headers and the tag.
    """

    key: bytes | None = None
    id: str | None = None
    wanted: RecordFilter = EVERYTHING


def searcher_of(search: RecordSearch) -> Selector:
    """Return what picks the records of a batch that are looked for.

    Raises:
        BadFilter: The condition does not parse.
    """
    key, id_ = search.key, search.id
    filtered = selector_of(search.wanted)
    if key is None and id_ is None:
        return filtered

    def select(batch: Buffer) -> Selection:
        found = _NOTHING
        if id_ is not None:
            found = _with_id(batch, id_)
            if not found.numbers:
                return found
        if key is not None:
            keyed = _with_key(batch, key)
            found = Selection(keyed.numbers, found.opened + keyed.opened)
        if not found.numbers or not search.wanted:
            return found
        met = filtered(batch)
        among = frozenset(met.numbers)
        numbers = [number for number in found.numbers if number in among]
        return Selection(numbers, found.opened + met.opened)

    return select


def _with_id(batch: Buffer, id_: str) -> Selection:
    header = parse_batch_header(batch)
    if not header.table_length:
        return _NOTHING
    table = table_of(batch, header.table_length)
    is_it = has_id(table) and id_of(table, header.count) == id_
    return Selection((0,) if is_it else (), header.table_length)


def _with_key(batch: Buffer, key: bytes) -> Selection:
    header = parse_batch_header(batch)
    if header.table_length:
        hashes = parse_table(table_of(batch, header.table_length), header.count).key_hashes
        if hashes is not None and key_hash(key) not in hashes:
            return Selection((), header.table_length)
    opened = Batch(batch)
    numbers: Sequence[int] = opened.with_key(key)
    return Selection(numbers, opened.payload_bytes)
