"""Golden files: today's code reads what is stored, and writes the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.sim.disk import SimDisk
from raftlog.base.entry import HEADER_BYTES, Entry, parse_entries
from raftlog.base.ids import Index, NodeId, ShardId, Term
from raftlog.broker import machine as machines
from raftlog.broker.ranges import parse_range
from raftlog.broker.snapshot import parse_snapshot
from raftlog.storage.identity import DIRECTORY_FORMAT, read_identity
from raftlog.storage.log_store import LogStore
from raftlog.transport.peer_codec import decode_message
from raftlog.wire.batch import records
from raftlog.wire.frame import Frame, FrameDecoder
from raftlog.wire.greeting import read_answer
from tests.golden.make import FOLDER, NODE, OLDER, OPTIONS, SHARD, make, small_ranges
from tests.storage.logs import read_all
from tests.transport.test_peer_codec import MESSAGES

STORED = {
    str(path.relative_to(FOLDER)): path.read_bytes()
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file()
}


def frames(data: bytes) -> list[Frame]:
    """Return the frames of a stream."""
    decoder = FrameDecoder()
    found: list[Frame] = []
    while data:
        buffer = decoder.get_buffer()
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        decoder.buffer_updated(size)
        found.extend(decoder.frames())
        data = data[size:]
    return found


def single_entries(data: bytes) -> Iterator[Entry]:
    """Yield entries that are no chain: each stands for itself."""
    while data:
        length = HEADER_BYTES + int.from_bytes(data[4:8], "little")
        yield from parse_entries(data[:length])
        data = data[length:]


def stored_disk() -> SimDisk:
    """Return a disk with the stored directory on it."""
    disk = SimDisk()
    files = disk.files()
    for name, data in STORED.items():
        if name.startswith(f"{NODE}/"):
            files.make_directory(name.rpartition("/")[0])
            file = files.open(name, create=True)
            file.pwrite([data], 0)
            file.sync()
            files.sync_directory(name.rpartition("/")[0])
    return disk


def test_the_same_contents_are_the_same_bytes() -> None:
    """Changed on purpose? Then run ``python -m tests.golden.make``, and say why."""
    made = make()

    assert sorted(made) == sorted(STORED)
    for name, data in made.items():
        assert data == STORED[name], name


@pytest.mark.parametrize("name", [name for name in STORED if not name.endswith("lock")])
def test_every_stored_format_says_its_version(name: str) -> None:
    """An empty file would say nothing, and pass everything else."""
    assert len(STORED[name]) > 20


def test_a_stored_directory_opens_with_everything_in_it() -> None:
    """Identity, votes, marks, segments and their indexes."""
    disk = stored_disk()
    identity = read_identity(disk.files(), NODE)
    store = LogStore.open(disk.files(), SHARD, OPTIONS)

    assert identity.format == DIRECTORY_FORMAT == 1
    assert (identity.node, len(identity.shards[0].voters)) == (NodeId("n1"), 3)
    assert store.hard_state.term == Term(2)
    assert store.hard_state.vote is not None
    assert store.hard_state.vote.node == "n2"
    assert store.faulty_count == 0
    entries = read_all(store)
    assert [entry.index for entry in entries if entry] == list(range(1, store.end.index + 1))
    assert store.end.term == 2
    assert store.commit_hint > 20


def test_stored_entries_make_the_stored_range_and_tables() -> None:
    """The machine of today decides what the machine of then has decided."""
    entries = list(single_entries(STORED["machine/history.entries"]))
    with small_ranges():
        machine = machines.BrokerMachine()
        for entry in entries:
            machine.apply(entry)
        sealed = machine.take_sealed()
        frozen = machine.take_snapshot()

    assert frozen is not None
    assert sealed[0].encoded == STORED["machine/range.qx"]
    assert b"".join(frozen.chunks()) == STORED["machine/snapshot.tables"]


@pytest.mark.parametrize("folder", OLDER, ids=lambda folder: folder.name)
def test_entries_of_an_older_level_make_what_they_made_then(folder: Path) -> None:
    """A directory of before goes on, by the rules of then.

    To the very bytes: a replica that has stored the range before must not seem to differ from
    one that seals it now.
    """
    with small_ranges():
        machine = machines.BrokerMachine()
        for entry in single_entries((folder / "history.entries").read_bytes()):
            machine.apply(entry)
        (sealed, *_), frozen = machine.take_sealed(), machine.take_snapshot()

    assert frozen is not None
    assert b"".join(frozen.chunks()) == (folder / "snapshot.tables").read_bytes()
    assert sealed.encoded == (folder / "range.qx").read_bytes()


def test_stored_ranges_and_tables_are_read() -> None:
    """By what a restart reads them with."""
    summary, postings = parse_range(STORED["machine/range.qx"])
    snapshot = parse_snapshot(STORED["machine/snapshot.tables"])

    assert summary.first_index == Index(1)
    assert postings
    assert snapshot.index >= summary.last_index


def test_stored_messages_say_what_they_said() -> None:
    """Every kind, in the order in which they were sent."""
    found = frames(STORED["wire/messages.frames"])

    assert [decode_message(frame) for frame in found] == MESSAGES
    assert {frame.shard for frame in found} == {ShardId(1)}


def test_a_stored_greeting_is_accepted() -> None:
    """It never changes in a way that an old binary cannot read."""
    (frame,) = frames(STORED["wire/hello.accepted"])
    answer = read_answer(frame, "c" * 32, (NodeId("n1"), "1" * 32))

    assert answer.node == "n1"
    assert len(frames(STORED["wire/hello.peer"] + STORED["wire/hello.client"])) == 2


def test_stored_batches_have_their_records() -> None:
    """Of a producer, and of nobody."""
    assert [each.value for each in records(STORED["wire/plain.batch"])] == [b"a", b"bb", b""]
    assert [each.value for each in records(STORED["wire/producer.batch"])] == [b"a"] * 3
