"""One file of each format, made by today's code: ``python -m tests.golden.make`` writes them.

Until there is a release these are what an older version left behind: today's code
must read them, and must write the same bytes for the same contents. Whoever changes
a format on purpose runs this again and says in the commit why nobody has the old
one; after a release the old files stay, and new ones get a folder of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chaos.sim.disk import SimDisk
from raftlog.base.entry import Entry
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.broker import index
from raftlog.storage.directory import form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.transport.peer_codec import encode_message
from raftlog.wire.batch import Producer, encode_columns
from raftlog.wire.greeting import (
    Promise,
    Sender,
    accepted_frame,
    client_hello,
    hello_frame,
    peer_hello,
)
from raftlog.wire.schema import hello
from tests.broker.histories import History
from tests.storage.logs import chain, perform
from tests.transport.test_peer_codec import MESSAGES

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "unreleased"
OLDER: Final = (HERE / "level-2", HERE / "level-3", HERE / "level-4")
"""What the machines of these feature levels made of their own entries; never made again."""
NODES: Final = ("n1", "n2", "n3")
NODE: Final = "n1"
SHARD: Final = f"{NODE}/shards/0"
OPTIONS: Final = StoreOptions(segment_bytes=4096)
RANGE_POSTINGS: Final = 20


def identities() -> Iterator[str]:
    """Draw identities that are the same each time."""
    yield from (f"{number:032x}" for number in range(1, 9))


def log_entries(after: LogStore) -> list[Entry]:
    """Return entries for a log that begins with its configuration: several segments of them."""
    return chain(30, after=after.end, size=150)


def files_of_a_node() -> dict[str, bytes]:
    """Return a node's directory after appends, a vote, a cut and a clean stop."""
    disk = SimDisk()
    files = disk.files()
    drawn = identities()
    form_cluster(
        {NodeId(name): name for name in NODES},
        options=OPTIONS,
        files=files,
        draw=lambda: next(drawn),
    )
    store = LogStore.open(files, SHARD, OPTIONS)
    number = 0
    entries = log_entries(store)
    vote = HardState(Term(2), ReplicaId(NodeId("n2"), DirectoryId("2" * 32)))
    for first in range(0, len(entries), 3):
        number += 1
        write = WriteEntries(number, None, tuple(entries[first : first + 3]))  # type: ignore[arg-type]
        perform(store, store.plan([write], Index(first)))
    end = entries[-3].end
    later = chain(2, after=end, term=2)
    writes = [
        SaveHardState(number + 1, vote),  # type: ignore[arg-type]
        WriteEntries(number + 2, end.index, tuple(later)),  # type: ignore[arg-type]
    ]
    perform(store, store.plan(writes, end.index))
    perform(store, store.plan_close())
    return {path: disk.content(path) for path in disk.paths() if path.startswith(f"{NODE}/")}


@contextmanager
def small_ranges() -> Iterator[None]:
    """Cut the index early, as every replica of a shard of this size would."""
    kept, index.RANGE_POSTINGS = index.RANGE_POSTINGS, RANGE_POSTINGS  # type: ignore[misc]
    try:
        yield
    finally:
        index.RANGE_POSTINGS = kept  # type: ignore[misc]


def files_of_a_machine() -> dict[str, bytes]:
    """Return the entries of a history, its first sealed range, and the tables at its end."""
    with small_ranges():
        history = History(18).run(120)
        sealed = history.machine.take_sealed()
        frozen = history.machine.take_snapshot()
    assert sealed, "the history is too short"
    assert frozen is not None, "a cut without tables"
    return {
        "machine/history.entries": b"".join(bytes(entry.frame) for entry in history.entries),
        "machine/range.qx": bytes(sealed[0].encoded),
        "machine/snapshot.tables": b"".join(frozen.chunks()),
    }


def files_of_the_wire() -> dict[str, bytes]:
    """Return hellos, one frame of each message between replicas, and batches."""
    sender = Sender(ClusterId("c" * 32), ReplicaId(NodeId("n1"), DirectoryId("1" * 32)), 7)
    greeting = peer_hello(
        sender,
        hello.PURPOSE_CONTROL,
        (NodeId("n2"), "2" * 32),
        [Promise(ShardId(0), 3, 4), Promise(ShardId(1), 5, 6)],
    )
    who = Producer(65_536, 2, 40, 38)
    return {
        "wire/hello.peer": hello_frame(greeting),
        "wire/hello.client": hello_frame(client_hello("c" * 32)),
        "wire/hello.accepted": accepted_frame(sender.cluster, sender.replica),
        "wire/messages.frames": b"".join(
            b"".join(encode_message(ShardId(1), message)) for message in MESSAGES
        ),
        "wire/plain.batch": encode_columns([b"a", b"bb", b""], timestamp_ms=5),
        "wire/producer.batch": encode_columns([b"a"] * 3, timestamp_ms=5, producer=who),
    }


def make() -> dict[str, bytes]:
    """Return every file, by its name."""
    return {**files_of_a_node(), **files_of_a_machine(), **files_of_the_wire()}


if __name__ == "__main__":
    for name, data in make().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
