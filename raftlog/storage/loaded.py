"""Which sealed segments' places are in memory: those of the few that were used last."""

from typing import Final

from raftlog.base.ids import Index
from raftlog.storage.segment import Segment

LOADED_SEGMENTS_MAX: Final = 8
"""Sealed segments whose entries' places stay in memory."""


class LoadedSegments:
    """The sealed segments of one log that were used last, oldest use first."""

    def __init__(self) -> None:
        self._loaded: list[Segment] = []

    def note_use(self, segment: Segment, durable: Index) -> None:
        """Keep the segment's places, instead of those that were used longest ago."""
        if not segment.sealed:
            return
        if segment in self._loaded:
            self._loaded.remove(segment)
        self._loaded.append(segment)
        while len(self._loaded) > LOADED_SEGMENTS_MAX:
            oldest = self._loaded[0]
            if oldest.sealed and oldest.end.index > durable:
                return  # planned, not written: only memory knows where its entries lie
            self._loaded.pop(0)
            # A truncation may have opened it again, and a repair moved its entries.
            if oldest.sealed and oldest.index_fits:
                oldest.places = None
