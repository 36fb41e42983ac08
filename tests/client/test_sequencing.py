"""Sequences against a model broker, over a network that loses, delays and repeats (rulings 9, 10).

A copy of a request may arrive at any later time, also long after its sender gave
it up; answers may be lost or late. Whatever happens: nothing is stored twice, a
receipt names the place of its batch, what was said not to be stored never is, and
the order is kept.
"""

from random import Random
from typing import Final

import pytest

from raftlog.base.errors import (
    BadBatch,
    Closed,
    DuplicateForgotten,
    Fenced,
    LimitReached,
    NotCommitted,
    NotLeader,
    NotPermitted,
    NotStored,
    Outcome,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    Throttled,
    Unavailable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.sequencing import (
    UNNUMBERED,
    Action,
    Fence,
    LookUp,
    Parcel,
    Remembered,
    Retry,
    Send,
    Sequencer,
    Settle,
    Stored,
)
from raftlog.wire.batch import Producer
from tests.client.model_queue import ModelQueue

STORED: Final = Stored(Offset(7), Term(1), Index(1), "fsync")
REFUSED: Final = NotPermitted("not writable")
Actions = list[Action[Parcel]]


def opened(count: int = 0) -> tuple[Sequencer[Parcel], list[Parcel]]:
    """Return a sequencer that may send, and ``count`` parcels of one record under way."""
    sequencer = Sequencer[Parcel]()
    sequencer.resume()
    parcels = [Parcel(1) for _ in range(count)]
    for parcel in parcels:
        sequencer.add(parcel)
    return sequencer, parcels


def sent(actions: Actions) -> list[tuple[int, int]]:
    """Return epoch and sequence of what is sent, in order."""
    return [(act.parcel.epoch, act.parcel.sequence) for act in actions if isinstance(act, Send)]


def settled(actions: Actions) -> list[Stored | RaftlogError]:
    """Return what owners are told, in order."""
    return [act.result for act in actions if isinstance(act, Settle)]


# -- single facts


def test_nothing_is_sent_before_there_is_a_way_and_then_all_in_order() -> None:
    """Sequences count records."""
    sequencer = Sequencer[Parcel]()
    for count in (3, 1, 2):
        assert sequencer.add(Parcel(count)) == []
    assert sent(sequencer.resume()) == [(0, 0), (0, 3), (0, 4)]


def test_at_most_64_batches_are_under_way_and_the_rest_waits() -> None:
    """A broker remembers so many; the oldest one counts, whatever was answered after it."""
    sequencer, parcels = opened(70)
    assert parcels[63].sequence == 63
    assert parcels[64].sequence == UNNUMBERED
    assert not sequencer.has_room
    assert sent(sequencer.answered(parcels[1], 1, STORED)) == []
    assert sent(sequencer.answered(parcels[0], 1, STORED)) == [(0, 64), (0, 65)]
    assert parcels[65].known_through == 2


def test_after_a_failure_everything_is_sent_again_from_the_gap() -> None:
    """With the same sequences, once, when there is a way again."""
    sequencer, parcels = opened(4)
    sequencer.answered(parcels[0], 1, STORED)
    assert sequencer.answered(parcels[1], 1, Throttled("full")) == [
        Retry(parcels[1].last_error or REFUSED)
    ]
    assert sequencer.answered(parcels[2], 1, OutOfOrder(1)) == []
    assert sequencer.add(Parcel(1)) == []
    assert sent(sequencer.resume()) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert sequencer.answered(parcels[3], 1, OutOfOrder(1)) == []  # of the older copy
    assert settled(sequencer.answered(parcels[1], 1, STORED)) == [STORED]  # also of the older copy
    assert sequencer.answered(parcels[1], 2, STORED) == []


def test_a_gap_at_the_very_beginning_is_a_gap() -> None:
    """The first batch was refused, so the broker has no row for the second one."""
    sequencer, parcels = opened(2)
    sequencer.answered(parcels[0], 1, Throttled("full"))
    assert sequencer.answered(parcels[1], 1, UnknownProducer("no row")) == []
    assert sent(sequencer.resume()) == [(0, 0), (0, 1)]


def test_a_row_that_was_forgotten_is_begun_anew() -> None:
    """A week of silence: the next send must not fail for ever."""
    sequencer, parcels = opened(1)
    sequencer.answered(parcels[0], 1, STORED)
    late = Parcel(1)
    sequencer.add(late)
    assert sequencer.answered(late, 1, UnknownProducer("no row")) == [Fence(1)]
    assert sent(sequencer.fenced(0, [])) == [(1, 0)]


def test_time_over_before_it_was_sent_is_definite() -> None:
    """With the reason why it was not."""
    sequencer = Sequencer[Parcel]()
    parcel = Parcel(1)
    sequencer.add(parcel)
    (result,) = settled(sequencer.expired(parcel))
    assert isinstance(result, Unavailable)
    assert sequencer.is_empty


def test_time_over_after_a_definite_refusal_is_definite_and_its_number_is_used_again() -> None:
    """No copy can arrive any more, so no fence is needed."""
    sequencer, (first, second) = opened(2)
    refusal = NotLeader()
    sequencer.answered(first, 1, refusal)
    sequencer.answered(second, 1, refusal)
    assert sequencer.expired(first) == [Settle(first, refusal)]
    assert sent(sequencer.resume()) == [(0, 0)]
    assert second.sequence == 0


def test_time_over_while_a_copy_may_arrive_is_unknown_and_fences_first() -> None:
    """Nothing is sent to the queue before the fence is answered."""
    sequencer, (first, second) = opened(2)
    actions = sequencer.expired(first)
    (result,) = settled(actions)
    assert isinstance(result, OutcomeUnknown)
    assert actions[-1] == Fence(1)
    assert first.is_unknown
    assert sequencer.add(Parcel(1)) == []
    sequencer.answered(second, 1, Unavailable("lost"))
    assert sent(sequencer.resume()) == []
    actions = sequencer.fenced(0, [])
    assert isinstance(settled(actions)[0], NotStored)
    assert sent(actions) == [(1, 0), (1, 1)]


def test_the_fence_finds_what_was_stored() -> None:
    """Its owner gets the first receipt, expired or not."""
    sequencer, (first, second) = opened(2)
    sequencer.expired(first)
    actions = sequencer.fenced(2, [Remembered(0, 1, STORED), Remembered(1, 1, STORED)])
    assert settled(actions) == [STORED, STORED]
    assert second.is_settled
    assert sequencer.is_empty


def test_a_receipt_that_comes_before_the_fence_is_answered_counts() -> None:
    """It is the truth."""
    sequencer, (first, second) = opened(2)
    sequencer.expired(first)
    assert settled(sequencer.answered(first, 1, STORED)) == [STORED]
    assert sent(sequencer.fenced(1, [Remembered(0, 1, STORED)])) == [(1, 0)]
    assert second.sequence == 0


def test_our_own_fence_refuses_late_copies_and_nobody_minds() -> None:
    """Only a fence of somebody else is an end."""
    sequencer, (first, second) = opened(2)
    sequencer.expired(first)
    assert sequencer.answered(second, 1, Fenced("by epoch 1")) == []
    assert sent(sequencer.fenced(0, [])) == [(1, 0)]


def test_fenced_by_somebody_else_is_the_end() -> None:
    """What may have been stored is said to be unknown, all else is definite."""
    sequencer, (first, second) = opened(2)
    waiting = Parcel(1)
    actions = sequencer.answered(first, 1, Fenced("epoch 5"))
    assert [type(result) for result in settled(actions)] == [Fenced, OutcomeUnknown]
    assert isinstance(sequencer.end, Fenced)
    assert second.is_settled
    with pytest.raises(AssertionError, match="after the end"):
        sequencer.add(waiting)


def test_a_batch_refused_for_good_leaves_no_hole() -> None:
    """Alone: its number is free. With others behind it: a fence makes theirs free."""
    sequencer, (only,) = opened(1)
    assert sequencer.answered(only, 1, REFUSED) == [Settle(only, REFUSED)]
    after = Parcel(1)
    assert sent(sequencer.add(after)) == [(0, 0)]
    behind = Parcel(1)
    sequencer.add(behind)
    assert sequencer.answered(after, 1, REFUSED) == [Settle(after, REFUSED), Fence(1)]
    assert sent(sequencer.fenced(0, [])) == [(1, 0)]
    assert behind.epoch == 1


def test_a_batch_refused_for_good_of_which_a_copy_may_arrive_waits_for_the_fence() -> None:
    """The refusal is told only when it is certain that no copy was stored."""
    sequencer, (only,) = opened(1)
    sequencer.answered(only, 1, OutcomeUnknown("connection lost"))
    sequencer.resume()
    assert sequencer.answered(only, 2, REFUSED) == [Fence(1)]
    assert sequencer.fenced(0, []) == [Settle(only, REFUSED)]


def test_a_bad_batch_is_told_after_a_fence() -> None:
    """Perhaps its number is taken: the next one must not get it."""
    sequencer, (only,) = opened(1)
    error = BadBatch("another one is there")
    assert sequencer.answered(only, 1, error) == [Fence(1)]
    assert sequencer.fenced(0, []) == [Settle(only, error)]


def test_a_duplicate_without_an_offset_is_stored_and_no_hole() -> None:
    """The next one has the next number."""
    sequencer, (only,) = opened(1)
    error = DuplicateForgotten("known")
    assert sequencer.answered(only, 1, error) == [Settle(only, error)]
    assert sent(sequencer.add(Parcel(1))) == [(0, 1)]


def test_a_queue_that_is_gone_is_looked_up_and_given_up() -> None:
    """Or found again: a new leader may not know a new queue yet."""
    sequencer, (first, second) = opened(2)
    error = WrongQueue("no queue 3")
    assert sequencer.answered(first, 1, error) == [LookUp(error)]
    assert sent(sequencer.resume()) == [(0, 0), (0, 1)]
    assert sequencer.answered(first, 2, error) == [LookUp(error)]
    assert settled(sequencer.abandon(error)) == [error, error]
    assert second.is_settled


def test_a_fence_that_is_refused_is_the_end() -> None:
    """A full table: nothing else can be said."""
    sequencer, (first,) = opened(1)
    sequencer.expired(first)
    assert [type(each) for each in settled(sequencer.fence_refused(LimitReached("rows")))] == [
        OutcomeUnknown
    ]


def test_closing_tells_everybody() -> None:
    """What was never sent was not stored; what was sent is unknown."""
    sequencer, _ = opened(64)
    sequencer.add(Parcel(1))
    results = settled(sequencer.close())
    assert [type(result) for result in results] == [OutcomeUnknown] * 64 + [Closed]


# -- what a queue has forgotten


class Aged(Parcel):
    """A parcel with an age, and what was asked about it."""

    def __init__(self, *, is_old: bool) -> None:
        super().__init__(1)
        self.is_old = is_old
        self.asked: list[tuple[int, int]] = []

    @property
    def may_be_sent(self) -> bool:
        """Whether it is young."""
        return not self.is_old

    def may_be_stored(self, stored_through: int, next_sequence: int) -> bool:
        """Whether it is old."""
        self.asked.append((stored_through, next_sequence))
        return self.is_old


def aged(*are_old: bool) -> tuple[Sequencer[Aged], list[Aged]]:
    """Return a sequencer that may send, and parcels under way."""
    sequencer = Sequencer[Aged]()
    sequencer.resume()
    parcels = [Aged(is_old=each) for each in are_old]
    for parcel in parcels:
        sequencer.add(parcel)
    return sequencer, parcels


def test_what_is_too_old_is_fenced_instead_of_sent_again() -> None:
    """Its queue may take it for a new one. What is behind it is sent in the new epoch."""
    sequencer, (old, young) = aged(True, False)
    sequencer.answered(old, 1, OutcomeUnknown("the connection ended"))
    assert sequencer.resume() == [Fence(1)]
    actions = sequencer.fenced(0, [])
    (result,) = [act.result for act in actions if isinstance(act, Settle)]
    assert isinstance(result, OutcomeUnknown)
    assert [act.parcel for act in actions if isinstance(act, Send)] == [young]
    assert old.is_settled


def test_what_is_old_and_was_refused_for_certain_is_sent_again() -> None:
    """No copy of it can be stored."""
    sequencer, (old,) = aged(True)
    sequencer.answered(old, 1, NotLeader())
    assert sequencer.resume() == [Send(old, 2)]
    assert sequencer.answered(old, 2, UnknownProducer("forgotten")) == [Fence(1)]
    assert sequencer.fenced(0, []) == [Send(old, 3)]


def test_a_fence_that_finds_nothing_says_nothing_of_what_is_too_old() -> None:
    """Its owner was told that it is unknown, and that stays so."""
    sequencer, (old,) = aged(True)
    sequencer.expired(old)
    (second,) = [act.result for act in sequencer.fenced(0, []) if isinstance(act, Settle)]
    assert isinstance(second, OutcomeUnknown)
    assert sequencer.is_empty


def test_what_the_queue_has_told_of_an_epoch_is_held_against_its_fence() -> None:
    """Of each batch: how far it had come for certain before that."""
    sequencer, (first, second, third) = aged(False, False, False)
    sequencer.answered(second, 1, STORED)
    sequencer.expired(first)
    sequencer.fenced(0, [])
    assert (first.asked, second.asked, third.asked) == ([(0, 0)], [], [(2, 0)])
    assert third.epoch == 1
    sequencer.expired(third)
    sequencer.fenced(0, [])
    assert third.asked == [(2, 0), (0, 0)], "in the new epoch nothing was told yet"


# -- seeds


class Letter(Parcel):
    """A parcel with a name and with what its owner was told."""

    def __init__(self, name: int, count: int) -> None:
        super().__init__(count)
        self.name = name
        self.told: list[Stored | RaftlogError] = []


class World:
    """A sequencer, a model broker, and a network in the hands of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue = ModelQueue()
        self.sequencer = Sequencer[Letter](in_flight_max=self.random.choice((1, 3, 8, 64)))
        self.letters: list[Letter] = []
        self.copies: list[tuple[Letter, int, Producer]] = []
        """Under way to the broker; none is ever forgotten before it was carried out or dropped."""
        self.late: list[tuple[Letter, int, Producer]] = []
        """Given up by everybody, and still on some wire."""
        self.answers: list[tuple[Letter, int, Stored | RaftlogError]] = []
        self.fences: list[int] = []
        self.wants_fence = 0
        self.is_broken = True
        self.resumes = False

    def perform(self, actions: list[Action[Letter]]) -> None:
        """Do what the sequencer asks for."""
        for action in actions:
            match action:
                case Send(letter, copy):
                    header = Producer(1, letter.epoch, letter.sequence, letter.known_through)
                    self.copies.append((letter, copy, header))
                case Settle(letter, result):
                    letter.told.append(result)
                case Retry():
                    self.resumes = True
                case Fence(epoch):
                    self.wants_fence = epoch
                case LookUp():
                    raise AssertionError("no queue was deleted")

    def step(self) -> None:
        """Let one thing happen."""
        dice = self.random.random()
        if dice < 0.25 and len(self.letters) < 60:
            letter = Letter(len(self.letters), self.random.randint(1, 3))
            self.letters.append(letter)
            self.perform(self.sequencer.add(letter))
        elif dice < 0.55:
            self._carry()
        elif dice < 0.8:
            self._answer()
        elif dice < 0.85 and self.is_broken:
            letter = self.random.choice(self.letters or [Letter(-1, 1)])
            if not letter.told and letter.name >= 0:
                self.perform(self.sequencer.expired(letter))
        elif dice < 0.9:
            self._carry_fence()
        elif self.late and dice < 0.93:
            letter, _, header = self.late.pop(self.random.randrange(len(self.late)))
            self._carry_out(letter, header)
        elif self.resumes or self.sequencer.is_held:
            self.resumes = False
            self.perform(self.sequencer.resume())

    def _carry(self) -> None:
        """A copy arrives, is lost, or is refused before it is looked at."""
        if not self.copies:
            return
        in_order = self.random.random() < 0.8
        at = 0 if in_order else self.random.randrange(len(self.copies))
        letter, copy, header = self.copies.pop(at)
        dice = self.random.random() if self.is_broken else 1.0
        if dice < 0.08:  # lost with its connection; and perhaps it arrives after all
            self.late.append((letter, copy, header))
            self.answers.append((letter, copy, OutcomeUnknown("the connection ended")))
        elif dice < 0.16:
            refusals = (Throttled("full"), NotLeader(), NotCommitted("replaced"))
            self.answers.append((letter, copy, self.random.choice(refusals)))
        elif dice < 0.18:
            self.answers.append((letter, copy, REFUSED))
        else:
            answer = self._carry_out(letter, header)
            if dice < 0.28:
                answer = OutcomeUnknown("the answer was lost")
            self.answers.append((letter, copy, answer))
            is_refused = isinstance(answer, RaftlogError) and answer.outcome is not Outcome.UNKNOWN
            if dice < 0.35 and not is_refused:
                self.late.append((letter, copy, header))  # and arrives once more, any time later

    def _carry_out(self, letter: Letter, header: Producer) -> Stored | RaftlogError:
        return self.queue.append(header, letter.count, b"%d" % letter.name)

    def _answer(self) -> None:
        if self.answers:
            at = self.random.randrange(min(len(self.answers), 3))
            self.perform(self.sequencer.answered(*self.answers.pop(at)))

    def _carry_fence(self) -> None:
        """A fence arrives, now or again; its answer may be lost, and then it is asked again."""
        if self.fences and self.random.random() < 0.3:
            self.queue.fence(1, self.random.choice(self.fences))
        if not self.wants_fence:
            return
        self.fences.append(self.wants_fence)
        dice = self.random.random() if self.is_broken else 1.0
        if dice < 0.2:
            return
        answer = self.queue.fence(1, self.wants_fence)
        if dice > 0.4:
            assert not isinstance(answer, RaftlogError), f"a fence got {answer!r}"
            self.wants_fence = 0
            self.perform(self.sequencer.fenced(*answer))

    def check(self) -> None:
        """Hold what owners were told against what is stored."""
        names = [int(content) for _, _, content in self.queue.batches]
        assert len(set(names)) == len(names), f"stored twice: {names}"
        assert names == sorted(names), f"reordered: {names}"
        places = {int(content): base for base, _, content in self.queue.batches}
        for letter in self.letters:
            assert letter.told, f"{letter.name} was never settled"
            assert len(letter.told) == 1 + isinstance(letter.told[0], OutcomeUnknown)
            last = letter.told[-1]
            if isinstance(last, Stored):
                assert places.get(letter.name) == last.base_offset, f"{letter.name} is elsewhere"
            else:
                assert last.outcome is Outcome.NOT_APPLIED, f"{letter.name}: {last!r}"
                assert not isinstance(last, DuplicateForgotten | BadBatch | Fenced), repr(last)
                assert letter.name not in places, f"{letter.name} is stored after {last!r}"


@pytest.mark.parametrize("block", range(20))
def test_nothing_is_lost_doubled_or_reordered(block: int) -> None:
    """A hundred seeds a block: faults, then a calm until all are settled, then the late copies."""
    for seed in range(block * 100, block * 100 + 100):
        world = World(seed)
        for _ in range(400):
            world.step()
        world.is_broken = False
        for _ in range(6_000):
            if world.sequencer.is_empty and not world.wants_fence:
                break
            world.step()
        for letter, _, header in world.late + world.copies:
            world._carry_out(letter, header)
        try:
            world.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
