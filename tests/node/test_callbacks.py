"""A caller's callback that raises is our bug: the replica stops, and nobody waits for ever."""

from collections.abc import Callable

import pytest

from raftlog.base.errors import OutcomeUnknown, RaftlogError, Unavailable
from raftlog.base.ids import Index, Term
from raftlog.broker.commands import CommandType
from raftlog.node.replica import Replica
from tests.node.replicas import Node, leader_alone


def propose(node: Node, on_outcome: Callable[[object, Term, Index], None]) -> None:
    """Append a command."""
    node.replica.propose(CommandType.RAW, (b"x",), on_outcome)


def explode(*_told: object) -> None:
    """Be a callback with a bug."""
    raise KeyError("a bug of the caller's")


def test_a_callback_that_raises_stops_the_replica_and_the_others_are_told() -> None:
    """The applier was busy for ever: nothing was applied any more, and nobody knew."""
    node = leader_alone()
    told: list[object] = []
    for callback in (lambda outcome, *_: told.append(outcome), explode) * 2:
        propose(node, callback)
    node.run()
    assert [type(outcome).__name__ for outcome in told] == ["Stored", "Stored"]
    (failure,) = node.failures
    assert isinstance(failure, AssertionError)
    assert "a bug of the caller's" in str(failure), "its traceback says whose bug it is"
    assert node.replica.stopped


def test_a_lone_callback_that_raises_stops_the_replica_too() -> None:
    """One command in an entry is told by another way."""
    node = leader_alone()
    applied = node.replica.applied
    propose(node, explode)
    node.run()
    assert len(node.failures) == 1
    assert node.machine.applied == applied + 1


def test_callers_of_later_entries_are_told_that_nobody_knows() -> None:
    """What is in the log stays in the log; it may be applied after the next start."""
    node = leader_alone()
    told: list[object] = []
    propose(node, explode)
    node.queue.run_until(node.queue.now_ns + 1)
    propose(node, lambda outcome, *_: told.append(outcome))
    node.run()
    (outcome,) = told
    assert isinstance(outcome, OutcomeUnknown | Unavailable)
    assert len(node.failures) == 1


def test_a_stop_tells_everybody_although_one_of_them_raises() -> None:
    """The first caller's bug must not leave the second one waiting."""
    node = leader_alone()
    told: list[object] = []
    propose(node, explode)
    propose(node, lambda outcome, *_: told.append(outcome))
    node.replica.read_index(told.append)
    node.replica.stop()
    assert len(told) == 2
    assert len(node.failures) == 1


def read(replica: Replica, on_read: Callable[[RaftlogError | None], None]) -> None:
    """Ask for a linearizable read."""
    replica.read_index(on_read)


def listen(replica: Replica, on_read: Callable[[RaftlogError | None], None]) -> None:
    """Listen to apply."""
    replica.on_applied(lambda _: on_read(None))


def watch(replica: Replica, on_read: Callable[[RaftlogError | None], None]) -> None:
    """Listen to role changes."""
    replica.on_role = lambda _: on_read(None)


@pytest.mark.parametrize("ask", [read, listen, watch])
def test_any_callback_that_raises_stops_the_replica(
    ask: Callable[[Replica, Callable[[RaftlogError | None], None]], None],
) -> None:
    """A reader's, a listener's: each would cut a step short in the middle of its effects."""
    node = Node(voters=1)
    node.replica.start()
    ask(node.replica, explode)
    node.run()
    propose(node, lambda *_: None)
    node.run()
    assert len(node.failures) == 1
    assert node.replica.stopped


def test_a_wrong_number_of_outcomes_stops_the_replica() -> None:
    """Whom would they belong to?"""
    node = leader_alone()
    told: list[object] = []
    node.machine.apply = lambda _entry: ()  # type: ignore[method-assign]
    propose(node, lambda outcome, *_: told.append(outcome))
    node.run()
    (failure,) = node.failures
    assert isinstance(failure, AssertionError)
    assert isinstance(told[0], OutcomeUnknown)
