"""How a hole that is larger than a message is repaired: in pieces, each proven (ruling 20).

What was lost is proven by its last chain value, so nothing may be written before the last
entry was seen. A survey follows a peer's entries through the hole and keeps of them only where
each message ended. When the last one is the lost one, all before it are, by the chain::

    hole     |.............................................| known: chain value of its end
    survey   |--- message ---|--- message ---|-- message --| seen, not kept: ends and lengths
    pieces   |......piece....|......piece....|.....piece...| known: chain value of each end

Then every piece is a hole of its own, which one message repairs, from any peer, in any order.
Memory does not grow with the damage.

A misdirected write may have put what follows the hole further forward, into it. Then there is no
room for the pieces, and good entries behind must be written again with the last of them
(``holes.filling``). So the entries are kept, up to a bound, to be put in place all at once.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from raftlog.base.entry import Entry, LogEnd, check_links
from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.limits import SURVEY_BYTES_MAX
from raftlog.storage.segment import Hole, Segment
from raftlog.storage.unit import UNIT_BYTES


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Some of the lost entries: the last one, their bytes, and where terms change in them."""

    end: LogEnd
    length: int
    term_runs: tuple[tuple[Index, Term], ...]


class Survey:
    """One pass over what a peer has in the place of a hole.

    It follows one peer only: half of one branch and half of another prove nothing.
    """

    def __init__(self, hole: Hole, peer: NodeId) -> None:
        self.hole = hole
        self.peer = peer
        self.pieces: list[Piece] = []
        self.kept: list[Entry] | None = []
        """All entries that were seen; None if they are too many to be kept."""
        self._kept_bytes = 0
        self._end = hole.before

    @property
    def next(self) -> Index:
        """The entry to ask for."""
        return Index(self._end.index + 1)

    @property
    def is_complete(self) -> bool:
        """Whether everything was seen, and is what was lost."""
        return self._end.index == self.hole.last and self._end.checksum == self.hole.checksum

    def take(self, entries: Sequence[Entry]) -> bool:
        """Follow some entries that begin with ``next``; False if they cannot be the lost ones."""
        entries = entries[: self.hole.last - self._end.index]
        try:
            check_links(self._end, entries)
        except CorruptFrame:
            return False
        end = entries[-1].end
        if end.index == self.hole.last and end.checksum != self.hole.checksum:
            return False
        self.pieces.append(_piece(entries))
        self._keep(entries)
        self._end = end
        return True

    def _keep(self, entries: Sequence[Entry]) -> None:
        self._kept_bytes += self.pieces[-1].length
        if self.kept is not None and self._kept_bytes <= SURVEY_BYTES_MAX:
            self.kept += entries
        else:
            self.kept = None


def _piece(entries: Sequence[Entry]) -> Piece:
    size = sum(len(entry.frame) for entry in entries)
    return Piece(entries[-1].end, size, tuple(runs_of(entries)))


def runs_of(entries: Sequence[Entry]) -> list[tuple[Index, Term]]:
    """Return first index and term of each run of equal terms."""
    runs = [(entries[0].index, entries[0].term)]
    runs += [(b.index, b.term) for a, b in pairwise(entries) if b.term != a.term]
    return runs


def split(segment: Segment, survey: Survey) -> bool:
    """Make the hole into one hole for each piece; False if its place has no room for them."""
    hole, pieces = survey.hole, survey.pieces
    total = sum(piece.length for piece in pieces)
    if hole.length:
        spare = hole.length - total
        if spare < 0:
            return False
    else:
        spare = UNIT_BYTES * (hole.last == segment.end.index and not segment.sealed)
    holes: list[Hole] = []
    before, position = hole.before, hole.position
    for piece in pieces:
        # Heads of units that were lost lie in front, as in a hole that is repaired whole.
        length = piece.length + (0 if holes else spare)
        first = Index(before.index + 1)
        holes.append(
            Hole(
                *(first, piece.end.index, position, length),
                *(before, piece.end.checksum, piece.end.term),
                terms_known=True,
                is_blank=hole.first < hole.last,
            )
        )
        before, position = piece.end, position + length
    if not hole.length:
        # Nothing may follow it before it is whole: what lies there now is cut then.
        holes[-1] = msgspec.structs.replace(holes[-1], length=0)
    segment.holes = sorted(
        [*(each for each in segment.holes if each != hole), *holes], key=lambda each: each.first
    )
    _note_places(segment, holes)
    learn_terms(segment, hole, [run for piece in pieces for run in piece.term_runs])
    return True


def _note_places(segment: Segment, holes: Sequence[Hole]) -> None:
    segment.changes += 1
    places = segment.places
    if places is None:
        return
    for hole in holes:
        for index in range(hole.first, hole.last + 1):
            places.positions[index - segment.first_index] = hole.position
        places.checksums[hole.last - segment.first_index] = hole.checksum


def learn_terms(segment: Segment, hole: Hole, runs: Sequence[tuple[Index, Term]]) -> None:
    """Put the true terms of lost entries in the place of what was guessed."""
    first, last = hole.first, hole.last
    before = [run for run in segment.term_runs if run[0] < first]
    after = [run for run in segment.term_runs if run[0] > last]
    segment.term_runs = []
    for index, term in [*before, *runs, *after]:
        if not segment.term_runs or segment.term_runs[-1][1] != term:
            segment.term_runs.append((index, term))
