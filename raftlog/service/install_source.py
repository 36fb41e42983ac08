"""A snapshot for a peer: its manifest, its tables, its sealed ranges, piece by piece.

The peer pulls: it asks for one piece at a time by file and offset, so a lost
connection costs one piece, and a slow peer slows only itself. Pieces leave at the
pace of all that peers lack, whoever asks, so that the shard's own traffic has the
rest. The entries behind come from the leader, as to any slow follower.

Files that were asked for lately are held open: a newer snapshot may take their
names away meanwhile, and nothing is trimmed here while somebody is served.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import LogEnd
from raftlog.base.errors import StorageFailed
from raftlog.base.ids import INDEX_ZERO, Index, NodeId
from raftlog.base.limits import CATCH_UP_PIECE_BYTES
from raftlog.node.pace import CatchUpPace
from raftlog.node.ports import Reader, Scheduler
from raftlog.raft.rpcs import InstallChunk, InstallRequest
from raftlog.service.sealed import IndexFiles
from raftlog.storage.files import File
from raftlog.storage.snapshot_store import SnapshotStore

MANIFEST: Final = 0
TABLES: Final = 1
FIRST_RANGE: Final = 2
"""The number of the first sealed range; the others follow."""
OPEN_FILES_MAX: Final = 8
HELD_NS: Final = 10_000_000_000
"""So long after a request nothing is trimmed: the peer still has to read the log."""


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What makes up a snapshot, and where the log begins that leads on from it."""

    snapshot: Index
    base: LogEnd
    configuration: bytes
    """Who the members are: of ``base`` or later, and committed."""
    ranges: tuple[tuple[Index, int], ...]
    """First index and checksum of each sealed range."""


class InstallSource:
    """Answers peers that fetch the newest snapshot of one shard."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        index: IndexFiles,
        reader: Reader,
        scheduler: Scheduler,
        pace: CatchUpPace,
        *,
        start: Callable[[], tuple[LogEnd, bytes]],
        send: Callable[[NodeId, InstallChunk], None],
    ) -> None:
        self.snapshots: Final = snapshots
        self.index: Final = index
        self._reader: Final = reader
        self._scheduler: Final = scheduler
        self._pace: Final = pace
        self._start: Final = start
        self._send: Final = send
        self._newest: tuple[Index, Index] | None = None
        self._manifests: Final[OrderedDict[Index, Manifest]] = OrderedDict()
        self._open: Final[OrderedDict[tuple[Index, int], File]] = OrderedDict()
        self._asked_ns = -HELD_NS
        self.bytes_sent = 0

    @property
    def serves(self) -> bool:
        """Whether a peer was served lately."""
        return self._scheduler.now_ns() - self._asked_ns < HELD_NS

    def snapshot_kept(self, index: Index, trimmed: Index) -> None:
        """The newest snapshot here is now that of ``index``, of a log trimmed to ``trimmed``."""
        self._newest = (index, trimmed)
        if not self.serves:
            self._reader.submit(self._let_go, lambda _, __: None)

    def answer(self, to: NodeId, request: InstallRequest) -> None:
        """Send what was asked for; nothing at all means that it is not here."""
        self._asked_ns = self._scheduler.now_ns()
        start, configuration = self._start()

        def read() -> InstallChunk:
            return self._piece(request, start, configuration)

        def done(piece: InstallChunk | None, error: Exception | None) -> None:
            if piece is None:
                assert error is not None, "neither a piece nor an error"
                piece = InstallChunk(request.snapshot, request.file, request.offset, 0, 0, b"")
            self.bytes_sent += len(piece.data)
            found = piece
            self._scheduler.call_later(
                self._pace.leave(len(piece.data)), lambda: self._send(to, found)
            )

        self._reader.submit(read, done)

    # -- on the reader thread

    def _let_go(self) -> None:
        """Close what was held for a peer: what has no name any more takes its space till then."""
        while self._open:
            self._open.popitem()[1].close()

    def _piece(self, request: InstallRequest, start: LogEnd, configuration: bytes) -> InstallChunk:
        snapshot = request.snapshot
        data, size = b"", 0
        # Also for the files of one that another has begun to give: it is the same here.
        manifest = self._manifest(snapshot, start, configuration)
        if request.file == MANIFEST:
            if manifest is not None:
                snapshot = manifest.snapshot
                encoded = msgspec.msgpack.encode(manifest)
                data, size = encoded[request.offset :][:CATCH_UP_PIECE_BYTES], len(encoded)
        elif manifest is not None and manifest.snapshot == snapshot:
            file = self._file(manifest, request.file)
            if file is not None:
                data, size = file.pread(CATCH_UP_PIECE_BYTES, request.offset), file.size()
        return InstallChunk(snapshot, request.file, request.offset, size, crc32c(data), data)

    def _manifest(self, snapshot: Index, start: LogEnd, configuration: bytes) -> Manifest | None:
        known = self._manifests.get(snapshot)
        newest = self._newest
        if known is not None or newest is None or snapshot not in (INDEX_ZERO, newest[0]):
            return known
        index, trimmed = newest
        ranges = self.index.chain(index, trimmed)
        whole = (ranges[-1].last_index if ranges else trimmed) == index
        if not whole or start.index > trimmed:
            return None
        parts = tuple((each.first_index, each.checksum) for each in ranges)
        made = self._manifests[index] = Manifest(index, start, configuration, parts)
        while len(self._manifests) > 2:
            self._manifests.popitem(last=False)
        return made

    def _file(self, manifest: Manifest, number: int) -> File | None:
        snapshot = manifest.snapshot
        key = (snapshot, number)
        file = self._open.get(key)
        if file is None:
            place = number - FIRST_RANGE
            if not -1 <= place < len(manifest.ranges):
                return None
            try:
                file = (
                    self.snapshots.open(snapshot)
                    if number == TABLES
                    else self.index.open(manifest.ranges[place][0])
                )
            except StorageFailed:
                return None  # out of descriptors, or removed at this moment: it is asked again
            if file is None:
                return None
            self._open[key] = file
            while len(self._open) > OPEN_FILES_MAX:
                self._open.popitem(last=False)[1].close()
        return file
