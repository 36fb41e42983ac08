"""Half messages whose local work may still go on in this client: no checker is asked about them.

::

    half (7, 58) is staged; its local work takes a minute
    after 6 s the cluster asks a member of the group: "(7, 58), what became of it?"
    the member is this client      "unknown": nobody can say yet, least of all its own records
    the half was given up          "rolled back": nobody has to be asked

A half is open from before it is sent until the first of: commit, roll-back, or being left is
asked for; nobody has it in hand any more; its producer is closed; the same client begins under
its name again. From then on the checker is asked: what it looks up has happened by then, or
never will.
"""

from typing import Final, Protocol
from weakref import WeakValueDictionary

from raftlog.client.checking import Verdict


class Opened(Protocol):
    """A half message in somebody's hand."""

    @property
    def is_open(self) -> bool:
        """Whether its local work may go on."""


class OpenHalves:
    """What one client has open, of all its transactional producers. Bound to its loop."""

    def __init__(self) -> None:
        self._halves: Final[dict[int, WeakValueDictionary[int, Opened]]] = {}
        self._given_up: Final[set[tuple[int, int]]] = set()

    def begin(self, transactor: int) -> None:
        """A producer begins under its name: what another one has open is not its own any more."""
        self._halves[transactor] = WeakValueDictionary()

    def open(self, transactor: int, number: int, half: Opened) -> None:
        """It is about to be sent."""
        self._halves[transactor][number] = half

    def give_up(self, transactor: int, number: int) -> None:
        """It is being rolled back."""
        self._given_up.add((transactor, number))

    def rolled_back(self, transactor: int, number: int) -> None:
        """It is no more, or is for the checker."""
        self._given_up.discard((transactor, number))

    def verdict(self, transactor: int, number: int) -> Verdict | None:
        """Return what is said of a transaction without asking the checker; None: it is asked."""
        if (transactor, number) in self._given_up:
            return Verdict.ROLLBACK
        halves = self._halves.get(transactor)
        half = None if halves is None else halves.get(number)
        return Verdict.UNKNOWN if half is not None and half.is_open else None
