"""A deterministic state machine for tests: its state is the history that led to it."""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.broker.commands import RAW_LEVEL, decode, log_time_of


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a command: it is entry ``index``'s command number ``position``."""

    index: Index
    position: int


class HistoryMachine:
    """Chains a digest over every applied entry. Implements ``node.ports.Machine``."""

    def __init__(self, on_apply: Callable[[Entry, bytes], None]) -> None:
        self.applied: Index = INDEX_ZERO
        self.log_time_ms = 0
        self.feature_level = RAW_LEVEL
        self.digest = b""
        self._on_apply = on_apply

    def apply(self, entry: Entry) -> Sequence[object]:
        """Apply one entry; the outcome of each command is its place."""
        assert entry.index == self.applied + 1, f"entry {entry.index} after {self.applied}"
        outcomes: Sequence[object] = ()
        if entry.kind is EntryKind.COMMANDS:
            outcomes = [Stored(entry.index, n) for n in range(len(decode(entry.body)))]
            stamp = log_time_of(entry.body)
            assert stamp >= self.log_time_ms, f"log time goes back at entry {entry.index}"
            self.log_time_ms = stamp
        self.applied = entry.index
        state = hashlib.blake2b(self.digest, digest_size=16)
        state.update(entry.frame)
        self.digest = state.digest()
        self._on_apply(entry, self.digest)
        return outcomes


def values_in(entry: Entry) -> list[bytes]:
    """Return the commands of an entry, in order."""
    if entry.kind is not EntryKind.COMMANDS:
        return []
    body = entry.body
    return [bytes(body[start : start + size]) for _, start, size in decode(body)]
