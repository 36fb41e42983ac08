"""Batches from the files: near ones as one span, off the loop if a disk is waited for (17).

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
from raftlog.node.ports import Reader
from raftlog.service.ports import OnBodies, ShardReplica
from raftlog.storage.log_store import LogStore
from raftlog.storage.span import BodySpan, Place
from raftlog.wire.batch_header import parse_stored_header

SPANS_MAX: Final = 64
"""Spans of one read."""


class BodyReader:
    """Reads stored batches of one shard. Implements ``StoredBodies``."""

    def __init__(self, store: LogStore, reader: Reader, replica: ShardReplica) -> None:
        self._store: Final = store
        self._reader: Final = reader
        self._replica: Final = replica
        self.reads = 0
        self.reads_on_thread = 0

    def read(self, wanted: Sequence[Place], done: OnBodies, /) -> None:
        """Read the batches at ``wanted``, or the first few of them."""
        self.reads += 1
        if min(place.index for place in wanted) < self._store.first_index:
            # A snapshot is being installed: the log it leads to is here, and not yet the state.
            done((), Unavailable("this node is catching up from a snapshot; ask another one"))
            return
        spans: list[tuple[BodySpan, int]] = []
        try:
            for run in _runs(wanted):
                spans.append((self._store.locate_bodies(run), len(run)))  # noqa: PERF401 (raises)
        except FaultyEntry as error:
            if not spans:
                done((), error)
                return
        found: Sequence[Buffer] | None = None
        failed: Exception | None = None
        try:
            found = _read_all(spans, wait=False)
        except OSError as error:
            failed = error
        if found is not None or failed is not None:
            self._finish(spans, wanted, found, failed, done)
            return
        self.reads_on_thread += 1
        self._reader.submit(
            lambda: _read_all(spans, wait=True),
            lambda late, error: self._finish(spans, wanted, late, error, done),
        )

    def _finish(
        self,
        spans: Sequence[tuple[BodySpan, int]],
        wanted: Sequence[Place],
        found: Sequence[Buffer] | None,
        failed: Exception | None,
        done: OnBodies,
    ) -> None:
        for span, _ in spans:
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


def _runs(wanted: Sequence[Place]) -> list[Sequence[Place]]:
    """Divide places into runs that go forward in the log, the first few of them.

    As a rule that is one; but what was hidden for a while lies before what came meanwhile.
    """
    runs: list[Sequence[Place]] = []
    begin = 0
    for at in range(1, len(wanted)):
        before, place = wanted[at - 1], wanted[at]
        if (place.index, place.offset) < (before.index, before.offset + before.length):
            runs.append(wanted[begin:at])
            begin = at
            if len(runs) == SPANS_MAX:
                return runs
    return [*runs, wanted[begin:]]


def _read_all(spans: Sequence[tuple[BodySpan, int]], *, wait: bool) -> list[Buffer] | None:
    """Return the bytes at the first few places, as far as the spans follow one another.

    None if a disk would have to be waited for before there is anything.

    Raises:
        OSError: The very first cannot be read.
    """
    found: list[Buffer] = []
    for span, count in spans:
        try:
            batches = span.read(wait=wait)
        except OSError:
            if not found:
                raise
            break
        if batches is None:
            return found or None
        found += batches
        if len(batches) < count:
            break
    return found


def _is_whole(batch: Buffer) -> bool:
    try:
        parse_stored_header(batch)
    except (BadBatch, RecordTooLarge):
        return False
    return True
