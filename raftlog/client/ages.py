"""Whether a queue can still tell what became of a batch, and whether that may be sent again.

A queue forgets its producers: what it does not know then was perhaps stored, and sent again it
is stored again. So it hangs on a batch's age, on a machine whose clock may be wrong. The clock of
a till or a vehicle may lose the date, or be put back: what it shows is taken as a lower bound
only, and each doubt counts as "too old", which asks a human instead of storing twice.

::

    of this process                 the time that has run since, or the clock's if that is more:
                                    a machine that was held may not know of it
    written down, and found when    the clock's; no age at all while it is behind what the
    the spool or relay opened       spool itself has noted, or before there were spools
"""

import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from raftlog.base.limits import PRODUCER_FORGOTTEN_MS

DECIDED_MS_MAX: Final = PRODUCER_FORGOTTEN_MS * 5 // 7
"""What was sent or written down so long ago may be forgotten by its queue: nobody can say."""
BEGINNING_S: Final = 1_767_225_600
"""The beginning of 2026: a clock before it has not been set."""
_BEGINNING_MS: Final = BEGINNING_S * 1000
DAY_MS: Final = 24 * 3600 * 1000
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)
run_s: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Seconds since some moment, those in which the machine sleeps too; nobody sets it."""


class Moment(NamedTuple):
    """A moment of this process: what the machine's clock showed, and seconds that had run."""

    shown_ms: int
    run_s: float

    def age_ms(self, now: "Moment") -> int:
        """Return at least how long ago it was: what ran, or what the clock shows if more."""
        ran = int((now.run_s - self.run_s) * 1000)
        return ran if self.shown_ms < _BEGINNING_MS else max(now.shown_ms - self.shown_ms, ran)


def this_moment() -> Moment:
    """Return this one."""
    return Moment(time.time_ns() // 1_000_000, run_s())


class Judged(Protocol):
    """A batch that is perhaps stored."""

    @property
    def sequence(self) -> int:
        """Of its first record, in its producer's epoch; what was before it is stored."""

    @property
    def idle_days(self) -> int:
        """For how long its queue had been sent nothing by its process before, in whole days."""


class Written(Judged, Protocol):
    """A batch that is written down. Two are equal if they are the same one."""

    @property
    def queue(self) -> int:
        """The number of its queue."""

    @property
    def made_ms(self) -> int:
        """When it was made, by the machine's clock."""


class Sent(NamedTuple):
    """A batch that is nowhere but in the process that sends it.

    Attributes:
        sequence: So far its queue has come for certain; it is not before that.
        begun: When it was first sent.
        idle_days: For how long its queue had been sent nothing before, in whole days.
    """

    sequence: int
    begun: Moment
    idle_days: int

    @classmethod
    def now(cls, last: "Sent | None") -> "Sent":
        """Return a batch that is sent now; ``last``: the one that its queue was sent before."""
        now = this_moment()
        idle_days = 0 if last is None else max(0, last.begun.age_ms(now)) // DAY_MS
        return cls(0, now, idle_days)

    @property
    def may_be_sent(self) -> bool:
        """Whether its queue knows it for certain, if it is stored."""
        return _SENT_AGES.may_be_sent(self)

    def may_be_stored(self, stored_through: int, next_sequence: int) -> bool:
        """Whether it may be stored although a fence has not found it; as ``Judging.doubt``.

        Args:
            stored_through: So far its epoch had come for certain; it is not before that.
            next_sequence: So far it had come, says the fence.
        """
        known = self._replace(sequence=stored_through)
        return _SENT_AGES.doubt(known, next_sequence) is not None


class Doubt(Enum):
    """Why a batch may be stored although its queue does not say so."""

    FORGOTTEN = auto()
    """It was sent so long ago that the queue may have forgotten it."""
    UNDATED = auto()
    """The clock has gone back since: it may be as old as that."""


J = TypeVar("J", bound=Judged)


class Judging(Generic[J]):
    """The rule, for batches of some kind."""

    def of(self, batch: J) -> int | None:
        """Return at least how old a batch is, in ms; None: nobody can say."""
        raise NotImplementedError

    def may_be_sent(self, batch: J) -> bool:
        """Whether its queue knows it for certain, if it is stored: sent again it is not again."""
        age = self.of(batch)
        return age is not None and age <= DECIDED_MS_MAX

    def doubt(self, batch: J, next_sequence: int) -> Doubt | None:
        """Return why a batch may be stored although a fence has not found it, if so.

        Args:
            batch: That is to be judged.
            next_sequence: How far its epoch had come, says the fence; not behind the batch.
        """
        # A queue that still knows of batches before this one has not forgotten it.
        if next_sequence >= max(batch.sequence, 1):
            return None
        # It knew what was before it, unless it was idle so long that it had forgotten that first.
        knew = batch.idle_days < 1
        if knew and next_sequence < batch.sequence:
            return Doubt.FORGOTTEN
        age = self.of(batch)
        if age is None:
            return Doubt.UNDATED
        return Doubt.FORGOTTEN if age > DECIDED_MS_MAX else None


class _SentAges(Judging[Sent]):
    def of(self, batch: Sent) -> int:
        return batch.begun.age_ms(this_moment())


_SENT_AGES: Final = _SentAges()


class Ages(Judging[Written]):
    """The ages of one spool's or relay's batches, in ms.

    Args:
        now_ms: The machine's clock.
        noted_ms: The latest time that was found written down in the beginning.
        run_s: Seconds that have run.
        back_ms: By so much the clock may stand before a batch that was found: another machine
            has made it.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        noted_ms: int = 0,
        run_s: Callable[[], float] = run_s,
        back_ms: int = 0,
    ) -> None:
        self._now_ms: Final = now_ms
        self._noted_ms: Final = noted_ms
        self._run_s: Final = run_s
        self._back_ms: Final = back_ms
        self._opened_ms: Final = now_ms()
        self._opened_s: Final = run_s()
        self._begun: dict[int, tuple[Written, float]] = {}
        """By queue, its last batch of this process, and when it was written down."""

    def begin(self, batch: Written) -> None:
        """Take note of a batch that was written down just now, and not sent yet."""
        self._begun[batch.queue] = (batch, self._run_s())

    def idle_days(self, queue: int) -> int:
        """Return how old the last batch of this process for a queue is; 0: there is none."""
        mine, _ = self._begun.get(queue, (None, 0.0))
        age = None if mine is None else self.of(mine)
        return 0 if age is None else max(0, age) // DAY_MS

    def of(self, batch: Written) -> int | None:
        """Return at least how old a batch is; None: the clock has gone back, nobody can say."""
        shown = self._now_ms() - batch.made_ms
        mine, begun_s = self._begun.get(batch.queue, (None, 0.0))
        if mine == batch:
            begun = Moment(batch.made_ms, begun_s)
            return begun.age_ms(Moment(self._now_ms(), self._run_s()))
        if self._now_ms() < max(self._noted_ms, batch.made_ms - self._back_ms, _BEGINNING_MS):
            return None
        ran = int((self._run_s() - self._opened_s) * 1000)
        return max(shown, self._opened_ms - batch.made_ms + ran)
