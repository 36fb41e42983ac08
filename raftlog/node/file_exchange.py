"""Damaged files are fetched from any peer, in any role, chunk by chunk (rulings 3 and 20).

::

    here                                   a peer
    FileRequest(name, 0)      ------->
                              <-------     FileChunk(name, 0, size, bytes)
    write, FileRequest(name, 64 KiB) -->
                              ...          the last chunk: verify, sync, rename

One chunk is under way for each file: that is slow enough for the control connection, and
goes on where it was with another peer when one falls silent. What arrives is proven as a whole
by whoever wants it; a file that proves wrong is begun anew with the next peer.
"""

from collections.abc import Callable, Sequence
from typing import Final

from crc32c import crc32c

from raftlog.base.errors import NoRoom, Unavailable
from raftlog.base.ids import Index, NodeId
from raftlog.base.limits import FILE_CHUNK_BYTES_MAX, FILE_FETCH_READS_MAX, FILE_SERVE_READS_MAX
from raftlog.node.damage import Damage
from raftlog.node.ports import Reader, Scheduler, Timer
from raftlog.raft.rpcs import FileChunk, FileMessage, FileRequest
from raftlog.storage.files import Files
from raftlog.storage.shard_files import (
    FileKind,
    FileName,
    Verify,
    finish_file,
    read_chunk,
    write_chunk,
)

PATIENCE_NS: Final = 200_000_000
"""A peer that has not answered in this time is passed over."""
ROUNDS_MAX: Final = 10
"""A file is given up when every peer was asked so often in vain; whoever needs it asks again."""
OnFetched = Callable[[Exception | None], None]
"""Called once, on the loop: None when the file is in its place."""


class _Fetch:
    """One file on its way here."""

    def __init__(self, name: FileName, verify: Verify, done: OnFetched) -> None:
        self.name = name
        self.verify = verify
        self.waiting = [done]
        self.offset = 0
        self.size = 0
        self.turn = name.index
        self.failures = 0
        self.busy = False
        self.timer: Timer | None = None


class FileExchange:
    """Fetches files for one replica, and serves its peers."""

    def __init__(
        self,
        files: Files,
        directory: str,
        reader: Reader,
        scheduler: Scheduler,
        *,
        send: Callable[[NodeId, FileMessage], None],
        on_failed: Callable[[Exception], None],
        damage: Damage,
    ) -> None:
        self._files = files
        self._directory = directory
        self._reader = reader
        self._scheduler = scheduler
        self._damage = damage
        self.peers: Sequence[NodeId] = ()
        """Who is asked: the other members."""
        self._send = send
        self._on_failed = on_failed
        self._fetches: dict[FileName, _Fetch] = {}
        self._serving = 0
        self._stopped = False
        self.fetched = 0

    def fetch(self, name: FileName, verify: Verify, done: OnFetched) -> None:
        """Replace a file by a peer's; who wants the same one meanwhile shares the fetch."""
        known = self._fetches.get(name)
        if known is not None:
            known.waiting.append(done)
        elif not self.peers or len(self._fetches) >= FILE_FETCH_READS_MAX:
            why = "no peer" if not self.peers else "too many files are fetched already"
            done(Unavailable(f"{name.path(self._directory)} is damaged, and {why}"))
        else:
            fetch = self._fetches[name] = _Fetch(name, verify, done)
            self._damage.file(name.path(self._directory))
            self._ask(fetch)

    def receive(self, sender: NodeId, message: FileMessage) -> None:
        """Serve a peer, or take in what one sent."""
        if self._stopped:
            return
        if isinstance(message, FileRequest):
            self._serve(sender, message)
            return
        fetch = self._fetches.get(_name(message.kind, message.index))
        if fetch is None or fetch.busy or message.offset != fetch.offset:
            return
        if not self.peers or sender != self.peers[fetch.turn % len(self.peers)]:
            return
        good = message.size and message.data and crc32c(message.data) == message.crc
        if not good or (fetch.offset and message.size != fetch.size):
            self._next_peer(fetch)
        else:
            self._take(fetch, message)

    def stop(self) -> None:
        """Set no timer any more, answer nobody."""
        self._stopped = True
        for fetch in self._fetches.values():
            if fetch.timer is not None:
                fetch.timer.cancel()
        self._fetches.clear()

    # -- serving

    def _serve(self, sender: NodeId, request: FileRequest) -> None:
        if self._serving >= FILE_SERVE_READS_MAX or request.kind not in set(FileKind):
            return
        self._serving += 1
        path = _name(request.kind, request.index).path(self._directory)

        def read(found: tuple[int, bytes] | None, _error: Exception | None) -> None:
            self._serving -= 1
            size, data = found or (0, b"")
            place = (request.kind, request.index, request.offset)
            if not self._stopped:
                self._send(sender, FileChunk(*place, size, crc32c(data), data))

        self._reader.submit(
            lambda: read_chunk(self._files, path, request.offset, FILE_CHUNK_BYTES_MAX), read
        )

    # -- fetching

    def _ask(self, fetch: _Fetch) -> None:
        if not self.peers:  # this replica is the last member
            self._end(
                fetch, Unavailable(f"{fetch.name.path(self._directory)} is damaged, no peer")
            )
            return
        peer = self.peers[fetch.turn % len(self.peers)]
        self._send(peer, FileRequest(fetch.name.kind, fetch.name.index, fetch.offset))
        fetch.timer = self._scheduler.call_later(PATIENCE_NS, lambda: self._silent(fetch))

    def _silent(self, fetch: _Fetch) -> None:
        if not self._stopped and not fetch.busy and self._fetches.get(fetch.name) is fetch:
            self._next_peer(fetch, soon=True)

    def _next_peer(self, fetch: _Fetch, *, soon: bool = False) -> None:
        """Go on with another peer; after a while, unless this one has cost its time already."""
        if fetch.timer is not None:
            fetch.timer.cancel()
        fetch.turn = Index(fetch.turn + 1)
        fetch.failures += 1
        if fetch.failures >= ROUNDS_MAX * len(self.peers):
            path = fetch.name.path(self._directory)
            self._end(fetch, Unavailable(f"{path} is damaged, and no peer has sent a good one"))
        elif soon:
            self._ask(fetch)
        else:
            fetch.timer = self._scheduler.call_later(
                PATIENCE_NS // 4, lambda: self._ask(fetch) if not self._stopped else None
            )

    def _take(self, fetch: _Fetch, chunk: FileChunk) -> None:
        if fetch.timer is not None:
            fetch.timer.cancel()
        fetch.busy = True
        fetch.size = chunk.size
        path = fetch.name.path(self._directory)

        def wrote(_: None, error: Exception | None) -> None:
            if isinstance(error, NoRoom) and not self._stopped:
                self._end(fetch, error)  # nothing has changed; whoever needs it asks again
                return
            if self._stopped or error is not None:
                self._fail(error)
                return
            fetch.busy = False
            fetch.offset += len(chunk.data)
            if fetch.offset < fetch.size:
                self._ask(fetch)
            else:
                self._finish(fetch, path)

        self._reader.submit(
            lambda: write_chunk(self._files, path, chunk.offset, chunk.data), wrote
        )

    def _finish(self, fetch: _Fetch, path: str) -> None:
        fetch.busy = True

        def finished(good: bool | None, error: Exception | None) -> None:  # noqa: FBT001
            if self._stopped or error is not None:
                self._fail(error)
                return
            fetch.busy = False
            fetch.offset = 0
            if good:
                self.fetched += 1
                self._damage.file_repaired(path)
                self._end(fetch, None)
            else:
                self._next_peer(fetch)

        self._reader.submit(lambda: finish_file(self._files, path, fetch.verify), finished)

    def _fail(self, error: Exception | None) -> None:
        """A failed write ends the node (R2)."""
        if error is not None and not self._stopped:
            self._on_failed(error)

    def _end(self, fetch: _Fetch, error: Exception | None) -> None:
        self._fetches.pop(fetch.name, None)
        for done in fetch.waiting:
            done(error)


def _name(kind: int, index: Index) -> FileName:
    return FileName(FileKind(kind) if kind in set(FileKind) else FileKind.RANGE, index)
