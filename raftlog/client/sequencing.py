"""Sequences of one producer in one queue: nothing stored twice, nothing reordered (rulings 9, 10).

::

    add --> waiting --(numbered, at most 64 unsettled)--> window --> settled
               ^                                            |
               +---------- renumbered, after a fence -------+

Sans I/O and without a clock: events come in as method calls, what is to be done
goes out as actions. Whoever uses it (the producer, the simulator) carries the
batches, tells every answer, and says when a batch's time is over.

**Sending again.** A batch keeps its sequence, and the broker answers a copy that
it knows with the first receipt. So after any failure everything unsettled is
sent again, in order, from the gap; a late answer of an older copy does no harm.

**Fencing.** A sequence is never used for another batch while a copy that carries
it may still arrive::

    B (sequence 7) is sent, no answer; its time is over: the outcome is unknown
    C is given sequence 7 and stored; the producer goes on to 8
    B is sent again by its owner as sequence 8 -- and the late first copy of B ..
      .. would be refused here, but with C at 8 and the late copy of B at 7 both
      orders exist: one stores B never, the other twice

A fence commits a new epoch: from its entry on no copy of the old one can be
stored, and its answer says which batches were. What was not is numbered anew and
sent again, or, if its time is over, is definitely not stored.

What is relied on: a copy that was definitely refused is not carried out later (a
connection delivers a request once). What was not refused may arrive at any time.

**Forgetting.** A queue forgets its producers, and what it does not know then was perhaps stored.
A batch knows its age (``client.ages``): one that is too old is fenced instead of sent again, and
if the fence finds nothing, nobody can say.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic

from raftlog.base.errors import (
    BadBatch,
    Closed,
    DuplicateForgotten,
    Fenced,
    NotStored,
    Outcome,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    Unavailable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.client.parcels import (
    UNNUMBERED,
    Action,
    Fence,
    LookUp,
    P,
    Parcel,
    Remembered,
    Retry,
    Send,
    Settle,
    State,
    Stored,
)

__all__ = [
    "MESSAGES_IN_FLIGHT_MAX",
    "UNNUMBERED",
    "Action",
    "Fence",
    "LookUp",
    "Parcel",
    "Remembered",
    "Retry",
    "Send",
    "Sequencer",
    "Settle",
    "Stored",
]

MESSAGES_IN_FLIGHT_MAX: Final = 64
"""Unsettled batches of one producer in one queue; a broker remembers as many (ruling 9)."""


class Sequencer(Generic[P]):
    """The batches of one producer for one queue. Nothing is sent before the first ``resume``."""

    def __init__(self, in_flight_max: int = MESSAGES_IN_FLIGHT_MAX) -> None:
        self.epoch = 0
        self.in_flight_max: Final = in_flight_max
        self._next = 0
        self._waiting: deque[P] = deque()
        self._window: deque[P] = deque()
        """Numbered, oldest first; the first one is not settled."""
        self.is_held = True
        """Whether it waits for ``resume``."""
        self.is_fencing = False
        """Whether it waits for the answer of a fence."""
        self._is_known = False
        """Whether the broker has a row for this epoch: something was stored, or it was fenced."""
        self._stored_through = 0
        """So far the queue has come in this epoch for certain."""
        self.end: RaftlogError | None = None
        """Why nothing can be sent here any more."""

    @property
    def has_room(self) -> bool:
        """Whether a batch that is added now is sent now."""
        full = len(self._window) >= self.in_flight_max
        return not (full or self._waiting or self.is_held or self.is_fencing)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._window and not self._waiting

    # -- events

    def add(self, parcel: P) -> list[Action[P]]:
        """Take a batch; it is sent after all that were added before it."""
        assert self.end is None, f"a batch was added after the end: {self.end}"
        self._waiting.append(parcel)
        actions: list[Action[P]] = []
        self._advance(actions)
        return actions

    def resume(self) -> list[Action[P]]:
        """There is a way to the broker (again): send everything that is unsettled, in order."""
        actions: list[Action[P]] = []
        if not self.is_held:
            return actions
        self.is_held = False
        if any(
            parcel.state is State.OPEN and parcel.loose and not parcel.may_be_sent
            for parcel in self._window
        ):
            self._fence(actions)
        if not self.is_fencing:  # else it is sent when the fence is answered
            for parcel in self._window:
                if parcel.state is State.OPEN:
                    self._send(parcel, actions)
        self._advance(actions)
        return actions

    def answered(self, parcel: P, copy: int, answer: Stored | RaftlogError) -> list[Action[P]]:
        """An answer came for a copy, or it is certain that none will."""
        actions: list[Action[P]] = []
        if parcel.state is State.SETTLED or copy <= parcel.stale:
            return actions
        if isinstance(answer, Stored):
            self._is_known = True
            self._stored_through = max(self._stored_through, parcel.sequence + parcel.count)
            self._settle(parcel, answer, actions)
            self._advance(actions)
            return actions
        if answer.outcome is Outcome.NOT_APPLIED:
            parcel.loose -= 1
            assert parcel.loose >= 0, f"copy {copy} of {parcel.copies} was answered twice"
        if parcel.state is State.OPEN and copy == parcel.copies:
            self._failed(parcel, answer, actions)
        return actions

    def expired(self, parcel: P) -> list[Action[P]]:
        """The time of a batch is over: its owner is told now."""
        actions: list[Action[P]] = []
        if parcel.state is not State.OPEN:
            return actions
        error = parcel.refusal or parcel.last_error or Unavailable("nothing was sent in time")
        if parcel.sequence == UNNUMBERED:
            self._waiting.remove(parcel)
            self._settle(parcel, error, actions)
        elif not parcel.loose:
            self._drop(parcel, error, actions)
        else:
            parcel.state = State.UNKNOWN
            actions.append(Settle(parcel, OutcomeUnknown(_UNKNOWN)))
            self._fence(actions)
        return actions

    def fenced(self, next_sequence: int, remembered: Sequence[Remembered]) -> list[Action[P]]:
        """The fence is committed. ``next_sequence`` is how far the epoch before it had come."""
        assert self.is_fencing, "an answer to a fence that nobody asked for"
        stored = {(each.base_sequence, each.count): each.stored for each in remembered}
        actions: list[Action[P]] = []
        again: list[P] = []
        for parcel in self._window:
            if parcel.state is State.SETTLED:
                continue
            found = stored.get((parcel.sequence, parcel.count))
            if found is not None:
                result: Stored | RaftlogError = found
            elif parcel.sequence < next_sequence:
                result = DuplicateForgotten("it was stored; the broker has forgotten where")
            elif self._may_be_stored(parcel, next_sequence):
                result = OutcomeUnknown(_FORGOTTEN)
            elif parcel.state is State.UNKNOWN:
                result = NotStored("no copy was stored, and none ever will be")
            elif parcel.refusal is not None:
                result = parcel.refusal
            else:
                again.append(parcel)
                continue
            parcel.state = State.SETTLED
            actions.append(Settle(parcel, result))
        self._window.clear()
        self._put_back(again)
        self.epoch += 1
        self._next = 0
        self._stored_through = 0
        self.is_fencing = False
        self._is_known = True
        self._advance(actions)
        return actions

    def fence_refused(self, error: RaftlogError) -> list[Action[P]]:
        """The fence will never be committed: nothing can be sent to this queue any more."""
        return self.abandon(error)

    def abandon(self, error: RaftlogError) -> list[Action[P]]:
        """Nothing can be sent here any more: whoever waits is told what can be said.

        A queue that is gone (``WrongQueue``) can hold nothing, so what was sent
        to it is told that; else what may have been stored is unknown for ever.
        """
        self.end = error
        actions: list[Action[P]] = []
        for parcel in (*self._window, *self._waiting):
            if parcel.state is State.SETTLED:
                continue
            result = error
            if parcel.loose and not isinstance(error, WrongQueue):
                why = f"it may have been stored, and cannot be resolved any more ({error})"
                result = OutcomeUnknown(why)
            parcel.state = State.SETTLED
            actions.append(Settle(parcel, result))
        self._window.clear()
        self._waiting.clear()
        return actions

    def close(self) -> list[Action[P]]:
        """The owner stops: as ``abandon`` with ``Closed``."""
        return self.abandon(Closed("the producer was closed"))

    # -- inside

    def _may_be_stored(self, parcel: P, next_sequence: int) -> bool:
        """Whether a copy may be stored although a fence has not found it."""
        known = min(self._stored_through, parcel.sequence)
        return bool(parcel.loose) and parcel.may_be_stored(known, next_sequence)

    def _advance(self, actions: list[Action[P]]) -> None:
        """Number and send what waits, as far as there is room."""
        if self.is_held or self.is_fencing:
            return
        waiting, window = self._waiting, self._window
        while waiting and len(window) < self.in_flight_max:
            parcel = waiting.popleft()
            parcel.epoch = self.epoch
            parcel.sequence = self._next
            self._next += parcel.count
            window.append(parcel)
            parcel.known_through = window[0].sequence
            self._send(parcel, actions)

    def _send(self, parcel: P, actions: list[Action[P]]) -> None:
        parcel.copies += 1
        parcel.loose += 1
        actions.append(Send(parcel, parcel.copies))

    def _failed(self, parcel: P, error: RaftlogError, actions: list[Action[P]]) -> None:
        """The newest copy was not, or perhaps not, stored."""
        # The broker has no row, and this is not the batch that makes one: that one was refused.
        is_gap = isinstance(error, UnknownProducer) and not self._is_known and parcel.sequence > 0
        match error:
            case Retriable() | OutcomeUnknown():
                self._hold(parcel, Retry(error), actions)
            case UnknownProducer() if is_gap:
                self._hold(parcel, Retry(error), actions)
            case UnknownProducer():
                self._fence(actions)  # begins its row anew
            case WrongQueue():
                self._hold(parcel, LookUp(error), actions)
            case Fenced():
                if not self.is_fencing:  # else by our own fence, whose answer is on its way
                    actions.extend(self.abandon(error))
            case DuplicateForgotten():
                self._stored_through = max(self._stored_through, parcel.sequence + parcel.count)
                self._settle(parcel, error, actions)
                self._advance(actions)
            case BadBatch():  # perhaps because the broker has something else at its sequence
                parcel.refusal = error
                self._fence(actions)
            case _ if parcel.loose:
                parcel.refusal = error
                self._fence(actions)
            case _:
                self._drop(parcel, error, actions)

    def _hold(self, parcel: P, action: Retry | LookUp, actions: list[Action[P]]) -> None:
        parcel.last_error = action.error
        if not self.is_held:
            self.is_held = True
            actions.append(action)

    def _drop(self, parcel: P, error: RaftlogError, actions: list[Action[P]]) -> None:
        """Give up a numbered batch that was not stored: its number must not leave a hole."""
        assert not parcel.loose, f"{parcel.loose} copies may still be stored"
        window = self._window
        later = [each for each in window if each.sequence > parcel.sequence]
        self._settle(parcel, error, actions)
        if self.is_fencing:
            return
        if any(each.state is not State.OPEN or each.loose for each in later):
            self._fence(actions)
            return
        # No copy of it or of a later one can arrive any more: their numbers are free.
        self._next = parcel.sequence
        while window and window[-1].sequence >= parcel.sequence:
            window.pop()
        self._put_back(later)
        self._advance(actions)

    def _put_back(self, parcels: list[P]) -> None:
        for parcel in reversed(parcels):
            parcel.sequence = UNNUMBERED
            parcel.stale = parcel.copies
            parcel.loose = 0
            if isinstance(parcel.last_error, OutcomeUnknown):
                parcel.last_error = None  # it is known now: not stored
            self._waiting.appendleft(parcel)

    def _settle(self, parcel: P, result: Stored | RaftlogError, actions: list[Action[P]]) -> None:
        parcel.state = State.SETTLED
        actions.append(Settle(parcel, result))
        window = self._window
        if self.is_fencing:
            return  # the fence's answer empties the window
        while window and window[0].state is State.SETTLED:
            window.popleft()

    def _fence(self, actions: list[Action[P]]) -> None:
        if not self.is_fencing:
            self.is_fencing = True
            actions.append(Fence(self.epoch + 1))


_UNKNOWN: Final = (
    "no receipt in time: it may have been stored, or still be; resolve() with this error's "
    "ticket tells"
)
_FORGOTTEN: Final = (
    "sent so long ago that the queue may have forgotten it: it may have been stored; read the "
    "queue before it is sent again"
)
