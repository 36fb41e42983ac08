"""A log of which any part may be lost: keep its beginning, as far as it is whole.

After a power cut under ``os-cache`` the watermark says nothing: the kernel may have written it
and not what it claims. Nobody else has the entries, and what was acknowledged may be taken
back (ruling 26), so everything from the first bad entry on is given up. That is written as a
truncation to where the log is whole; recovery does the rest, and a crash repeats it.
"""

from typing import Final

from raftlog.base.entry import LOG_ORIGIN, LogEnd
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import Index
from raftlog.storage.configurations import forget_written
from raftlog.storage.durable_mark import SLOTS, Claim, DurableMark, claim_done
from raftlog.storage.files import File, Files
from raftlog.storage.log_store import DURABLE_MARK, LOG
from raftlog.storage.scan import SegmentScan
from raftlog.storage.segment import (
    INDEX_SUFFIX,
    SEGMENT_HEADER_BYTES,
    SUFFIX,
    Segment,
    parse_segment_header,
    segment_name,
)
from raftlog.storage.snapshot_store import SnapshotStore

_NOTHING: Final = claim_done(0, LOG_ORIGIN)


def keep_what_is_whole(files: Files, shard: str) -> LogEnd:
    """Give up a shard's log from its first bad entry on; return where it ends now. Blocks.

    Raises:
        DamagedLog: Not even where the log begins is known.
        StorageFailed: It could not be written.
    """
    log = f"{shard}/{LOG}"
    mark = DurableMark.open(files, f"{shard}/{DURABLE_MARK}")
    try:
        prefix = _Prefix(files, log, mark)
        forget_written(files, shard)
        claim = claim_done(prefix.newest.unit + 1, prefix.end, truncation=True)
        # The kernel may have written them and not what came before, or after: what is kept now is
        # the log, whatever it was.
        mark.repeat(())
        for _ in range(SLOTS):
            mark.write(claim)
            mark.sync()
        for name in prefix.dropped:
            files.remove(f"{log}/{name}")
        # What an index says of a segment was never compared with the segment.
        for name in files.list(log):
            if name.endswith(INDEX_SUFFIX):
                files.remove(f"{log}/{name}")
        files.sync_directory(log)
        # They are durable whatever the log is: what they know is given up, too. The log will have
        # other entries there, and a start would take them for a state of those.
        SnapshotStore(files, f"{shard}/snapshot").give_up(prefix.end.index)
    finally:
        mark.close()
    return prefix.end


class _Prefix:
    """The segments that follow one another and are whole; the last one up to its first hole."""

    def __init__(self, files: Files, log: str, mark: DurableMark) -> None:
        self.end = LOG_ORIGIN
        self.newest = mark.newest or _NOTHING
        self.dropped: list[str] = []
        self._log = log
        self._mark = mark
        self._is_whole = True
        names = [name for name in files.list(log) if name.endswith(SUFFIX)]
        for number, name in enumerate(names):
            file = files.open(f"{log}/{name}")
            try:
                self._take(file, name, is_first=number == 0)
            finally:
                file.close()

    def _take(self, file: File, name: str, *, is_first: bool) -> None:
        header = parse_segment_header(_read(file))
        if header is not None:
            self._heed(header)
        base = header.end if header is not None else self.end
        if is_first:
            if name != segment_name(Index(base.index + 1)):
                raise DamagedLog(
                    f"{file.path} has no readable header, so it is not known where the log "
                    "begins; restore the directory from a copy"
                )
        elif not self._is_whole or base != self.end or name != segment_name(Index(base.index + 1)):
            self._is_whole = False
            self.dropped.append(name)
            return
        segment = Segment(file, self._log, base)
        scan = SegmentScan(segment)
        scan.run()
        if scan.newest is not None:
            self._heed(scan.newest)
        scan.forget_branches(self._mark.cuts)
        if scan.forgot:  # or the next start finds it in front of what follows, and no cut is told
            file.truncate(segment.end_position)
            file.sync()
        self._is_whole = not segment.holes
        self.end = segment.end if self._is_whole else segment.holes[0].before

    def _heed(self, claim: Claim) -> None:
        self.newest = max(self.newest, claim)


def _read(file: File) -> bytes:
    try:
        return file.pread(SEGMENT_HEADER_BYTES, 0)
    except OSError:
        return b""
