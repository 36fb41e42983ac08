"""Long polls: woken by apply, ended by their deadline, never by both."""

import weakref
from collections.abc import Callable

from raftlog.service.waiting import Waiter, Waiting
from tests.service.fakes import FakeScheduler


def world() -> tuple[
    FakeScheduler, Waiting[str], list[str], Callable[[str], Callable[[bool], None]]
]:
    scheduler = FakeScheduler()
    said: list[str] = []

    def speaker(name: str) -> Callable[[bool], None]:
        return lambda expired: said.append(f"{name} {'expired' if expired else 'woken'}")

    waiting: Waiting[str] = Waiting(scheduler)
    return scheduler, waiting, said, speaker


def test_progress_wakes_every_read_once_and_disarms_its_timer() -> None:
    """A timer that stayed armed would answer a second time."""
    scheduler, waiting, said, speaker = world()
    waiting.add("q", 100, speaker("a"))
    waiting.add("q", 200, speaker("b"))
    waiting.wake("q")
    waiting.wake("q")
    scheduler.advance(500)
    assert (said, scheduler.armed, len(waiting)) == (["a woken", "b woken"], 0, 0)


def test_a_deadline_ends_the_wait() -> None:
    """The caller asked for an answer in this time, an empty one if need be."""
    scheduler, waiting, said, speaker = world()
    waiting.add("q", 100, speaker("a"))
    scheduler.advance(100)
    waiting.wake("q")
    assert (said, len(waiting)) == (["a expired"], 0)


def test_who_leaves_is_not_called() -> None:
    """Its connection is gone."""
    scheduler, waiting, said, speaker = world()
    waiter = waiting.add("q", 100, speaker("a"))
    waiter.leave()
    waiter.leave()
    waiting.wake("q")
    scheduler.advance(500)
    assert said == []


def test_a_read_that_waits_again_when_woken_is_woken_by_the_next_progress_only() -> None:
    """Otherwise one wake would spin for ever on a read that it cannot satisfy."""
    _, waiting, said, speaker = world()

    def again(expired: bool) -> None:  # noqa: FBT001
        speaker("a")(expired)
        waiting.add("q", 100, again)

    waiting.add("q", 100, again)
    waiting.wake("q")
    assert said == ["a woken"]


def test_a_read_that_an_earlier_one_ended_is_not_woken() -> None:
    """Answering one read may close the connection of another."""
    _, waiting, said, speaker = world()
    second: Waiter[str] | None = None

    def first(expired: bool) -> None:  # noqa: FBT001
        speaker("a")(expired)
        assert second is not None
        second.leave()

    waiting.add("q", 100, first)
    second = waiting.add("q", 100, speaker("b"))
    waiting.wake("q")
    assert said == ["a woken"]


def test_only_who_waits_under_the_key_is_woken() -> None:
    """Ten thousand reads of quiet queues must not cost a busy one anything."""
    _, waiting, said, speaker = world()
    waiting.add("quiet", 100, speaker("a"))
    waiting.add("busy", 100, speaker("b"))
    waiting.wake("busy")
    waiting.wake("nobody's")
    assert (said, len(waiting)) == (["b woken"], 1)


def test_all_are_woken_when_everything_has_changed() -> None:
    """Leadership is lost: whoever waits must ask somebody else."""
    scheduler, waiting, said, speaker = world()
    waiting.add("one", 100, speaker("a"))
    waiting.add("two", 100, speaker("b"))
    waiting.wake_all()
    assert (said, len(waiting), scheduler.armed) == (["a woken", "b woken"], 0, 0)


def test_who_waits_no_more_is_not_kept() -> None:
    """As a rule it has the waiter: a circle of the two would wait for the collector."""
    _, waiting, _, _ = world()

    class Poll:
        def again(self, _expired: bool) -> None:  # noqa: FBT001
            """Look again."""

    poll = Poll()
    kept = weakref.ref(poll)
    woken = waiting.add("a", 100, poll.again)
    left = waiting.add("b", 100, poll.again)
    waiting.wake("a")
    left.leave()
    del poll
    assert kept() is None
    assert woken.key == "a"
