"""Half messages that are in this client's hand: it says nothing when it is asked about them.

::

    half (7, 58) is staged; its local work takes a minute
    after 6 s the cluster asks a member of the group: "(7, 58), what became of it?"
    the member is this client      no answer: nobody can say yet, least of all its own records
    the half was given up          no answer: it is being rolled back, unless that is fenced
    after 15 s                     the cluster asks again, this member or another one; no check
                                   was counted, so that work of an hour is not parked

A half is open from before it is sent until the first of: commit, roll-back, or being left is
asked for; nobody has it in hand any more; its producer is closed; the same client begins under
its name again. From then on the checker is asked: what it looks up has happened by then, or
never will. What was given up is not answered for with a roll-back either: its number may never
have come, and be that of another process by now, which is paid for just then.
"""

from typing import Final, Protocol
from weakref import WeakValueDictionary


class Opened(Protocol):
    """A half message in somebody's hand."""

    @property
    def is_open(self) -> bool:
        """Whether its local work may go on."""


class _InHand:
    """What one process has in hand, as it began under a name."""

    def __init__(self, epoch: int) -> None:
        self.epoch: Final = epoch
        self.halves: Final[WeakValueDictionary[int, Opened]] = WeakValueDictionary()
        self.given_up: Final[set[int]] = set()


class OpenHalves:
    """What one client has open, of all its transactional producers. Bound to its loop.

    Of each transactor only its last epoch counts: numbers that the one before gave up and that
    never came are used again, and what became of them says nothing about the next one's.
    """

    def __init__(self) -> None:
        self._in_hand: Final[dict[int, _InHand]] = {}

    def begin(self, transactor: int, epoch: int) -> None:
        """A producer begins under its name: what another one has open is not its own any more."""
        known = self._in_hand.get(transactor)
        if known is None or known.epoch < epoch:
            self._in_hand[transactor] = _InHand(epoch)

    def _of(self, transactor: int, epoch: int) -> _InHand | None:
        """Return what it has in hand; None: another one has begun, and it is fenced."""
        known = self._in_hand.get(transactor)
        return known if known is not None and known.epoch == epoch else None

    def open(self, transactor: int, epoch: int, number: int, half: Opened) -> None:
        """It is about to be sent."""
        known = self._of(transactor, epoch)
        if known is not None:
            known.halves[number] = half

    def give_up(self, transactor: int, epoch: int, number: int) -> None:
        """It is being rolled back."""
        known = self._of(transactor, epoch)
        if known is not None:
            known.given_up.add(number)

    def rolled_back(self, transactor: int, epoch: int, number: int) -> None:
        """It is no more, or is for the checker."""
        known = self._of(transactor, epoch)
        if known is not None:
            known.given_up.discard(number)

    def has(self, transactor: int, number: int) -> bool:
        """Whether it is open, or being rolled back: nothing is said of it."""
        known = self._in_hand.get(transactor)
        if known is None:
            return False
        half = known.halves.get(number)
        return number in known.given_up or (half is not None and half.is_open)
