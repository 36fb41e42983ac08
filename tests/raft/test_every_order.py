"""Small worlds, every order of what can happen in them: nothing is left to chance here.

From a few situations of three nodes, every sequence of up to so many events is
tried: a message arrives (any that is on its way, so it may also never arrive),
a disk finishes its oldest write, a node loses power, a node campaigns. The world
checks at each step what must always hold (``harness``). Situations that were
reached before, by another order, are not continued again.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from raftlog.raft.events import Campaign
from raftlog.raft.rpcs import PreVoteReply, PreVoteRequest
from tests.raft.harness import N1, N2, N3, World

EVENTS: Final = int(os.environ.get("RAFTLOG_EVERY_ORDER", "4"))
"""The longest sequences. ``make chaos-orders`` tries those of 6."""

Step = Callable[[World], object]


def _two_candidates() -> World:
    """Nobody leads, and two ask for votes in one term."""
    world = World(3, logs={N1: [1, 1], N2: [1, 1], N3: [1]})
    for node in (N1, N2):
        world[node].step(Campaign())
    world.deliver(PreVoteRequest)
    world.deliver(PreVoteReply)
    return _slow(world)


def _append_under_way() -> World:
    """A leader has appended twice, and nobody has heard of it."""
    world = World(3)
    world.elect(N1)
    _slow(world)
    world[N1].propose(b"a")
    world[N1].propose(b"b")
    return world


def _two_branches() -> World:
    """An old leader has an entry that a new one, elected without it, will replace."""
    world = World(3)
    world.elect(N1).propose(b"a")
    world.settle()
    world.isolate(N1)
    world[N1].propose(b"lost")
    world.drop()
    world.elect(N2)
    world.drop()
    world.heal()
    _slow(world)
    world[N2].propose(b"kept")
    return world


def _slow(world: World) -> World:
    for node in world.nodes.values():
        node.slow_disk = True
    return world


def steps(world: World) -> Iterator[tuple[str, Step]]:
    """Yield everything that can happen next."""
    for place, sent in enumerate(world.mail):
        yield f"{sent.sender.node} > {sent.to}: {sent.message}", _arrival(place)
    for number, node in world.nodes.items():
        if node.pending:
            yield f"{number} writes", lambda world, number=number: world[number].flush(1)
        yield f"{number} loses power", lambda world, number=number: world[number].crash()
    for number in (N2, N3):
        yield f"{number} campaigns", lambda world, number=number: world[number].step(Campaign())


def _arrival(place: int) -> Step:
    def arrive(world: World) -> None:
        sent = world.mail.pop(place)
        world.nodes[sent.to].receive(sent.sender, sent.message)

    return arrive


class BrokenByOrder(AssertionError):
    """Something that must always hold did not, after the events that are told."""


class Explorer:
    """Tries every order from one situation."""

    def __init__(self, events: int) -> None:
        self.tried = 0
        self._events = events
        self._seen: dict[bytes, int] = {}

    def explore(self, world: World) -> None:
        """Try every sequence of events."""
        self._go_on(_freeze(world), self._events, [])

    def _go_on(self, frozen: bytes, left: int, path: list[str]) -> None:
        if self._seen.get(frozen, 0) >= left:
            return
        self._seen[frozen] = left
        for name, step in list(steps(pickle.loads(frozen))):
            world: World = pickle.loads(frozen)
            self.tried += 1
            try:
                step(world)
                if left == 1:
                    continue
                self._go_on(_freeze(world), left - 1, [*path, name])
            except AssertionError as error:
                if isinstance(error, BrokenByOrder):
                    raise
                told = "\n  ".join([*path, name])
                raise BrokenByOrder(f"{error}, after\n  {told}") from error


def _freeze(world: World) -> bytes:
    """Return the world without what only tests look at."""
    world.history.clear()
    for node in world.nodes.values():
        node.roles.clear()
        node.ready.clear()
        node.failed_reads.clear()
        node.transfers.clear()
    return pickle.dumps(world)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("make", [_two_candidates, _append_under_way, _two_branches])
def test_every_order_keeps_what_must_hold(make: Callable[[], World]) -> None:
    explorer = Explorer(EVENTS)
    explorer.explore(make())
    assert explorer.tried > 5**EVENTS  # no situation is so poor that fewer can happen
