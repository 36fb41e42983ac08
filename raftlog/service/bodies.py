"""Batches from the files: one span, off the loop unless the page cache has it (ruling 17).

What is verified is each batch's own checksum: an entry may hold thousands of
them, and checking all of it to serve one would read thousands of times too
much. A batch that fails is not served. Its entry is marked, and a peer's copy
replaces it; the good batches before it are an answer, and the read that begins
with the bad one is asked to come again.
"""

from collections.abc import Sequence
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, FaultyEntry, RaftlogError, RecordTooLarge, Unavailable
from raftlog.base.ids import Index
from raftlog.broker.index import Postings
from raftlog.node.ports import Reader
from raftlog.service.ports import OnBodies, ShardReplica
from raftlog.storage.log_store import LogStore
from raftlog.storage.span import BodySpan, Place
from raftlog.wire.batch_header import parse_stored_header


class BodyReader:
    """Reads stored batches of one shard. Implements ``StoredBodies``."""

    def __init__(self, store: LogStore, reader: Reader, replica: ShardReplica) -> None:
        self._store: Final = store
        self._reader: Final = reader
        self._replica: Final = replica
        self.reads = 0
        self.reads_on_thread = 0

    def read(self, postings: Postings, places: range, done: OnBodies, /) -> None:
        """Read the batches of ``places``, or the first few of them."""
        self.reads += 1
        wanted = [
            Place(Index(index), position, length)
            for index, position, length in postings.places(places.start, places.stop)
        ]
        if wanted[0].index < self._store.first_index:
            # A snapshot is being installed: the log it leads to is here, and not yet the state.
            done((), Unavailable("this node is catching up from a snapshot; ask another one"))
            return
        try:
            span = self._store.locate_bodies(wanted)
        except FaultyEntry as error:
            done((), error)
            return
        found: Sequence[Buffer] | None = None
        failed: Exception | None = None
        try:
            found = span.read(wait=False)
        except OSError as error:
            failed = error
        if found is not None or failed is not None:
            self._finish(span, wanted, found, failed, done)
            return
        self.reads_on_thread += 1
        self._reader.submit(
            lambda: span.read(wait=True),
            lambda late, error: self._finish(span, wanted, late, error, done),
        )

    def _finish(
        self,
        span: BodySpan,
        wanted: Sequence[Place],
        found: Sequence[Buffer] | None,
        failed: Exception | None,
        done: OnBodies,
    ) -> None:
        span.close()
        if found is None:
            # A failed read is damage like any other: a peer has another copy.
            assert isinstance(failed, OSError), f"reading bodies failed: {failed!r}"
            done((), self._damaged(wanted[0].index))
            return
        good = 0
        for batch in found:
            if not _is_whole(batch):
                break
            good += 1
        error: RaftlogError | None = None
        if good < len(found):
            error = self._damaged(wanted[good].index)
        done(found[:good], None if good else error)

    def _damaged(self, index: Index) -> FaultyEntry:
        self._replica.faulty(index)
        return FaultyEntry(index)


def _is_whole(batch: Buffer) -> bool:
    try:
        parse_stored_header(batch)
    except (BadBatch, RecordTooLarge):
        return False
    return True
