"""What the log says of a batch, over whole histories: each has brought it, at a time that fits."""

from collections import Counter
from collections.abc import Iterator

from raftlog.broker.commands import log_time_of
from raftlog.broker.index import Posting
from raftlog.broker.origins import Brought, Origin, brought_at, first_brought
from raftlog.broker.places import index_of
from tests.broker.histories import History


def postings_of(history: History) -> Iterator[Posting]:
    """Yield the place of every batch that ever was visible."""
    ranges = [*history.machine.take_sealed(), history.machine.state.index.open]
    for each in ranges:
        for postings in each.postings.values():
            yield from (postings[place] for place in range(len(postings)))


def test_every_batch_was_brought_by_a_command_before_it_was_visible() -> None:
    """Also those whose bytes were relocated, whatever they were."""
    seen: Counter[Origin] = Counter()
    copies = 0
    for seed in range(10):
        history = History(seed).run(400)

        def body_of(index: int, history: History = history) -> memoryview:
            return history.entries[index - 1].body

        for posting in postings_of(history):
            brought = brought_at(body_of(posting.index), posting.index, posting.position)
            assert brought.log_time_ms == log_time_of(body_of(posting.index))
            if brought.copy_of:
                copies += 1
                first = first_brought(body_of(index_of(brought.copy_of)), brought.copy_of)
                assert first.index < brought.index
                assert first.log_time_ms <= brought.log_time_ms
                assert first.origin in (Origin.DELAYED, Origin.HALF, Origin.ATOMIC)
                brought = first
            check(brought, posting)
            seen[brought.origin] += 1
    assert seen.keys() == set(Origin) - {Origin.UNKNOWN}
    assert copies > 10


def check(brought: Brought, posting: Posting) -> None:
    """The facts of each kind."""
    assert brought.log_time_ms <= posting.log_time_ms
    assert bool(brought.due_ms) is (brought.origin is Origin.DELAYED)
    assert brought.due_ms <= posting.log_time_ms, "it was visible before it was due"
    assert any(brought.transaction) is (brought.origin is Origin.HALF)
    assert any(brought.buried) is (brought.origin is Origin.DEAD_LETTER)
