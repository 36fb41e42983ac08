"""The invariants about producers see what they are for: lost, doubled, moved, untrue."""

from collections.abc import Callable

import pytest

from chaos.check.dense_offsets import DenseOffsets
from chaos.check.fences_true import Fences
from chaos.check.producer_sequences import Kept, ProducerSequences
from chaos.check.sends_kept import Sends
from chaos.check.violation import Violation

QUEUE = 3


def test_offsets_that_skip_or_repeat_are_seen() -> None:
    """Every queue counts from 0, under a number of its own."""
    offsets = DenseOffsets()
    offsets.opened(QUEUE)
    offsets.stored(QUEUE, 0, 5)
    offsets.stored(QUEUE, 5, 1)
    for base in (5, 7):
        with pytest.raises(Violation, match="its end is 6"):
            offsets.stored(QUEUE, base, 1)
    with pytest.raises(Violation, match="never was"):
        offsets.stored(4, 0, 1)
    with pytest.raises(Violation, match="given out twice"):
        offsets.opened(QUEUE)


def test_a_start_that_goes_back_or_too_far_is_seen() -> None:
    """What retention has forgotten does not come back."""
    offsets = DenseOffsets()
    offsets.opened(QUEUE)
    offsets.stored(QUEUE, 0, 5)
    offsets.moved(QUEUE, 3)
    offsets.moved(QUEUE, 3)
    for start in (2, 6):
        with pytest.raises(Violation, match=f"moves from 3 to {start}"):
            offsets.moved(QUEUE, start)


# -- records and what their owners hear


def stored() -> Sends:
    """One record that is stored at offset 7, one that is not."""
    sends = Sends()
    for value in (b"here", b"nowhere"):
        sends.sends(value)
    sends.stored(b"here", QUEUE, 7)
    return sends


def test_what_is_told_truly_passes() -> None:
    """Also after it was unknown for a while."""
    sends = stored()
    sends.acked(b"here", QUEUE, 7)
    sends.somewhere(b"here")
    sends.never(b"nowhere", "not stored")
    sends.gone(b"here", QUEUE, is_deleted=True)


UNTRUE: list[tuple[str, Callable[[Sends], None]]] = [
    ("is at None", lambda sends: sends.acked(b"nowhere", QUEUE, 7)),
    (r"is at \(3, 7\)", lambda sends: sends.acked(b"here", QUEUE, 8)),
    (r"is at \(3, 7\)", lambda sends: sends.acked(b"here", 4, 7)),
    ("its owner hears: why", lambda sends: sends.never(b"here", "why")),
    ("is not stored", lambda sends: sends.somewhere(b"nowhere")),
    ("nobody sent it", lambda sends: sends.stored(b"invented", QUEUE, 8)),
    (r"and \(3, 8\)", lambda sends: sends.stored(b"here", QUEUE, 8)),
    ("queue 3 is gone", lambda sends: sends.gone(b"nowhere", QUEUE, is_deleted=False)),
]


@pytest.mark.parametrize(("why", "act"), UNTRUE)
def test_what_is_told_untruly_is_seen(why: str, act: Callable[[Sends], None]) -> None:
    """Lost, moved, invented, doubled, denied."""
    with pytest.raises(Violation, match=why):
        act(stored())


@pytest.mark.parametrize("gone", [False, True])
def test_never_means_never_for_late_copies_too(gone: bool) -> None:  # noqa: FBT001
    """The race of KIP-890: resolved as not stored, and then it arrives (ruling 10)."""
    sends = stored()
    if gone:
        sends.gone(b"nowhere", QUEUE, is_deleted=True)
    else:
        sends.never(b"nowhere", "not stored")
    with pytest.raises(Violation, match="its owner was told"):
        sends.stored(b"nowhere", QUEUE, 8)


# -- sequences and fences

PRODUCER = 9


def batch(sequence: int, count: int = 2) -> Kept:
    """A batch whose offsets are its sequences, plus 100."""
    return Kept(sequence, count, 100 + sequence, 1, 5)


def two_batches() -> ProducerSequences:
    """Sequences 0 to 3 in epoch 0, of which the producer knows the first two."""
    sequences = ProducerSequences()
    for sequence in (0, 2):
        sequences.stored(PRODUCER, QUEUE, 0, batch(sequence))
    sequences.says(PRODUCER, QUEUE, 0, 2)
    return sequences


def test_an_id_that_two_producers_have_is_seen() -> None:
    """Whether or not they ever write to one queue."""
    sequences = ProducerSequences()
    sequences.begun(PRODUCER)
    sequences.begun(PRODUCER + 1)
    with pytest.raises(Violation, match="given to two"):
        sequences.begun(PRODUCER)


def test_sequences_in_order_and_true_duplicates_pass() -> None:
    """The next queue and the next producer count for themselves."""
    sequences = two_batches()
    sequences.answered_again(PRODUCER, QUEUE, 0, batch(2))
    sequences.stored(PRODUCER, QUEUE + 1, 0, batch(0))
    sequences.stored(PRODUCER + 1, QUEUE, 4, batch(0))


@pytest.mark.parametrize("sequence", [0, 2, 3, 5])
def test_a_batch_that_is_stored_twice_or_out_of_order_is_seen(sequence: int) -> None:
    """Doubled, overlapping, beyond a gap."""
    with pytest.raises(Violation, match="4 was next"):
        two_batches().stored(PRODUCER, QUEUE, 0, batch(sequence))


def test_a_duplicate_with_another_answer_is_seen() -> None:
    """The first receipt is the only true one."""
    for untrue in (batch(2, 1), Kept(2, 2, 777, 1, 5), batch(4)):
        with pytest.raises(Violation, match="a duplicate is answered"):
            two_batches().answered_again(PRODUCER, QUEUE, 0, untrue)
    with pytest.raises(Violation, match="a duplicate is answered"):
        two_batches().answered_again(PRODUCER, QUEUE, 1, batch(2))


def test_a_true_fence_passes_and_ends_the_epoch() -> None:
    """What the producer knows is not named; the same fence again has the same answer."""
    sequences = two_batches()
    fences = Fences(sequences)
    fences.fenced(PRODUCER, QUEUE, 1, 4, [batch(2)])
    sequences.stored(PRODUCER, QUEUE, 1, batch(0))
    fences.fenced(PRODUCER, QUEUE, 1, 4, [batch(2)])
    with pytest.raises(Violation, match="after epoch 1 had begun"):
        sequences.stored(PRODUCER, QUEUE, 0, batch(4))
    with pytest.raises(Violation, match="without a fence"):
        sequences.stored(PRODUCER, QUEUE, 2, batch(0))
    with pytest.raises(Violation, match="and again"):
        fences.fenced(PRODUCER, QUEUE, 1, 4, [])
    with pytest.raises(Violation, match="had begun before"):
        fences.fenced(PRODUCER, QUEUE, 0, 0, [])


@pytest.mark.parametrize(
    ("next_sequence", "remembered", "why"),
    [
        (3, [batch(2)], "says 3, stored was up to 4"),
        (4, [], "does not name"),
        (4, [Kept(2, 2, 777, 1, 5)], "does not name"),
        (4, [batch(0), batch(2)], "which it may not remember"),
        (4, [batch(2), batch(4)], "which it may not remember"),
    ],
)
def test_an_untrue_fence_is_seen(next_sequence: int, remembered: list[Kept], why: str) -> None:
    """Its answer is the only truth that a producer has after a lost receipt."""
    with pytest.raises(Violation, match=why):
        Fences(two_batches()).fenced(PRODUCER, QUEUE, 1, next_sequence, remembered)
