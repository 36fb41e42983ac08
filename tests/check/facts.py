"""Synthetic facts for the invariants' tests."""

from chaos.check.log_model import LogModel, Mark
from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
R2 = ReplicaId(N2, DirectoryId("d2"))


def entries_of(*terms: int, body: bytes = b"x") -> tuple[Entry, ...]:
    """Return a chain of entries with these terms, from index 1."""
    entries: list[Entry] = []
    previous = CHAIN_ORIGIN
    for position, term in enumerate(terms):
        entry = seal(EntryKind.COMMANDS, Term(term), Index(position + 1), previous, [body])
        entries.append(entry)
        previous = entry.checksum
    return tuple(entries)


def log_of(*terms: int) -> LogModel:
    """Return the model of a log with entries of these terms."""
    return LogModel(Mark(entry.term, entry.checksum) for entry in entries_of(*terms))
