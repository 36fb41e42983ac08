"""The machine: offsets come from the log alone, and the same ones everywhere."""

import pytest

from raftlog.base.entry import Entry, EntryKind, seal
from raftlog.base.errors import BadBatch, IncompatibleFormat, Refused, WrongQueue
from raftlog.base.ids import Index, Offset
from raftlog.broker import index
from raftlog.broker.commands import ENVELOPE, Command, CommandType, envelope
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.ranges import parse_range
from raftlog.broker.refusals import CommandRefused
from tests.broker.logs import (
    FIRST,
    TERM,
    append,
    applied,
    batch_of,
    entry_of,
    log_of,
    opening,
    stored_at,
)


@pytest.fixture
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of four postings, so that a test sees many."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 4)


def test_offsets_count_records_over_commands_and_entries() -> None:
    """An offset is a record's place in the queue, not a batch's or an entry's."""
    start, first, second = log_of(
        [append(batch_of(b"a", b"b")), append(batch_of(b"c"))], [append(batch_of(b"d"))]
    )
    machine = applied([start])
    assert machine.apply(first) == [stored_at(0, 2, 2), stored_at(2, 1, 2)]
    assert machine.apply(second) == [stored_at(3, 1, 3)]
    assert (machine.applied, machine.queues.find(FIRST).end_offset) == (3, 4)


def test_a_posting_names_the_very_bytes_of_the_batch() -> None:
    """A fetch slices the entry by it; one byte off is rubbish with a good offset."""
    batches = [batch_of(b"a"), batch_of(b"bb", b"cc"), batch_of(b"d" * 500)]
    log = log_of([append(batch) for batch in batches])
    machine, entry = applied(log), log[-1]
    postings = machine.find(FIRST, Offset(0))
    assert isinstance(postings, Postings)
    found = [postings[place] for place in range(3)]
    assert [bytes(entry.body[at.position : at.position + at.length]) for at in found] == batches
    assert [(at.base_offset, at.count, at.index) for at in found] == [
        (0, 1, 2),
        (1, 2, 2),
        (3, 1, 2),
    ]


def test_times_are_the_logs_and_the_records_and_no_clock_s() -> None:
    """A clock read in apply would make replicas differ (ruling 8)."""
    late = entry_of(2, append(batch_of(b"a", timestamp_ms=-7)), log_time_ms=1_000)
    machine = applied([opening(), late])
    postings = machine.find(FIRST, Offset(0))
    assert isinstance(postings, Postings)
    assert (postings[0].log_time_ms, postings[0].record_time_ms) == (1_000, -7)


def test_log_time_never_goes_back() -> None:
    """A new leader's clock may be behind; windows must not open again."""
    behind = entry_of(3, append(batch_of(b"a")), log_time_ms=20)
    machine = applied([opening(), entry_of(2, log_time_ms=50), behind])
    postings = machine.find(FIRST, Offset(0))
    assert isinstance(postings, Postings)
    assert (machine.log_time_ms, postings[0].log_time_ms) == (50, 50)


BATCH = batch_of(b"a")
REFUSALS: dict[str, tuple[Command, type[Refused]]] = {
    "no queue": (append(BATCH, queue=0), WrongQueue),
    "another queue": (append(BATCH, queue=2), WrongQueue),
    "an embedded program's bytes": (Command(CommandType.RAW, (b"x",)), Refused),
    "no batch": (append(b""), BadBatch),
    "less than a batch header": (append(BATCH[:40]), BadBatch),
    "a batch cut short": (append(BATCH[:-1]), BadBatch),
    "bytes behind the batch": (append(BATCH + b"x"), BadBatch),
    "a batch of no records": (append(BATCH[:36] + bytes(4) + BATCH[40:]), BadBatch),
    "not even a queue": (Command(CommandType.APPEND_BATCH, (b"xy",)), BadBatch),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_command_that_cannot_be_carried_out_has_a_refusal_as_its_outcome(case: str) -> None:
    """Apply is total: an exception here would stop all three replicas at this entry."""
    command, reason = REFUSALS[case]
    machine = applied([opening()])
    before, refused, after = machine.apply(entry_of(2, append(BATCH), command, append(BATCH)))
    assert isinstance(refused, CommandRefused)
    assert type(refused.error) is reason
    assert (before, after) == (stored_at(0, 1, 2), stored_at(1, 1, 2))


def test_an_entry_that_this_binary_cannot_apply_changes_nothing() -> None:
    """The replica stops *before* it; half an entry applied would be a different state."""
    machine = applied(log_of([append(BATCH)]))
    before = machine.digest()
    body = b"".join(envelope(3, [append(BATCH)]))
    newer = ENVELOPE.pack(1, 7, 3, 1) + body[ENVELOPE.size :]
    with pytest.raises(IncompatibleFormat, match="feature level 7"):
        machine.apply(seal(EntryKind.COMMANDS, TERM, Index(3), 0, [newer]))
    assert (machine.applied, machine.digest()) == (2, before)


@pytest.mark.parametrize("kind", [EntryKind.NOOP, EntryKind.CONFIGURATION])
def test_entries_without_commands_move_applied_only(kind: EntryKind) -> None:
    """A leader's no-op is no record."""
    machine = applied([opening()])
    assert machine.apply(seal(kind, TERM, Index(2), 0, [b"anything"])) == ()
    assert (machine.applied, machine.queues.find(FIRST).end_offset) == (2, 0)


@pytest.mark.parametrize("at", [2, 4])
def test_entries_are_applied_once_and_in_order(at: int) -> None:
    """Anything else is a bug of the shell, and would shift every later offset."""
    machine = applied(log_of([append(BATCH)]))
    with pytest.raises(AssertionError):
        machine.apply(entry_of(at, append(BATCH)))


def mixed_log(entries: int) -> list[Entry]:
    """Entries with none to three commands, some of them refused."""
    groups: list[list[Command]] = []
    for at in range(entries):
        group = [append(batch_of(*[b"v"] * (1 + (at + n) % 3))) for n in range(at % 4)]
        groups.append(group + [append(BATCH, queue=9)] * (at % 5 == 0))
    return log_of(*groups)


@pytest.mark.usefixtures("short_ranges")
def test_ranges_are_cut_where_the_log_says_and_follow_one_another() -> None:
    """Every replica must cut at the same index, or sealed files differ (ruling 3)."""
    machine = applied(mixed_log(40))
    sealed = machine.take_sealed()
    assert [item.summary for item in sealed] == list(machine.ranges)
    assert len(sealed) > 5
    following = 1
    for item in sealed:
        assert item.summary.first_index == following
        following = item.summary.last_index + 1
        assert 4 <= sum(span.postings for span in item.summary.queues) <= 6
    assert machine.take_sealed() == []


def test_a_range_is_cut_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches make few postings; replay is bounded by bytes then."""
    monkeypatch.setattr(index, "RANGE_BODY_BYTES", 3_000)
    machine = applied(log_of(*[[append(batch_of(bytes(1_400)))]] * 5))
    assert [item.last_index for item in machine.ranges] == [3, 5]


@pytest.mark.usefixtures("short_ranges")
def test_every_offset_is_found_whether_open_sealed_or_stored() -> None:
    """A reader must not notice where the index keeps what."""
    log = mixed_log(50)
    machine = applied(log)
    files = {item.summary.first_index: item for item in machine.take_sealed()}
    for summary in list(machine.ranges)[: len(files) // 2]:
        machine.stored(summary)
    kinds = set()
    for offset in map(Offset, range(machine.queues.find(FIRST).end_offset)):
        found = machine.find(FIRST, offset)
        kinds.add(type(found))
        if isinstance(found, RangeSummary):
            found = parse_range(files[found.first_index].encoded)[1][FIRST]
        posting = found[found.find(offset)]
        assert posting.base_offset <= offset < posting.end_offset
        body = log[posting.index - 1].body
        assert body[posting.position + 28 : posting.position + 32] == posting.length.to_bytes(
            4, "little"
        )
    assert kinds == {Postings, RangeSummary}


def test_the_digest_sees_every_difference() -> None:
    """It is how replicas are compared; a digest that misses one is worth nothing."""
    logs = [
        [],
        log_of([append(BATCH)]),
        log_of([append(BATCH)], []),
        log_of([append(BATCH)], [append(BATCH)]),
        log_of([append(BATCH), append(BATCH)], []),
        log_of([append(batch_of(b"b", b"c"))], []),
        [opening(), entry_of(2, append(BATCH), log_time_ms=99), entry_of(3, log_time_ms=99)],
    ]
    assert len({applied(log).digest() for log in logs}) == len(logs)
    assert applied(logs[3]).digest() == applied(logs[3]).digest()
