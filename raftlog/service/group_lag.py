"""How far the groups of a shard are behind, as a node's status counts it: with or without members.

Every node knows it, from what it has applied. A look walks over so many queues at most, and goes
on with the next groups when the status is asked for again; what is told is the last round::

    look 1: a .. m    look 2: n .. z    round: 2 groups behind, 1 204 records, 71 s
    [5 000 queues]    [the rest    ]

So it is a second old, a few with very many groups. The age is as exact as a list's (``unread``).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from raftlog.broker.machine import BrokerMachine
from raftlog.node.ports import Scheduler
from raftlog.service.groups import state_of
from raftlog.service.queue_group_states import state_of as queue_state_of
from raftlog.service.unread import UnreadTimes, Wanted

LOOK_NS: Final = 1_000_000_000
LOOK_QUEUES_MAX: Final = 5_000
"""A look ends with the group that passes it."""
LOOK_GROUPS_MAX: Final = 1_000


class Seen(NamedTuple):
    """One group, as a look sees it."""

    name: str
    queues: int
    lag: int
    """Records, or messages, that it has not finished."""
    behind: Sequence[Wanted]


Look = Callable[[str, int], "Sequence[Callable[[], Seen]]"]
"""Returns groups whose names follow one, up to a number; each is looked at when it is called."""


def stream_style(machine: BrokerMachine) -> Look:
    """Look at groups with members."""

    def seen(name: str) -> Seen:
        state = state_of(machine, machine.groups.find(name))
        return Seen(name, len(state.queues), state.lag, state.behind)

    return lambda after, count: [
        partial(seen, group.name) for group in machine.groups.after(after, count)
    ]


def queue_style(machine: BrokerMachine) -> Look:
    """Look at groups without; what is in flight is not finished."""
    groups = machine.leasing.groups

    def seen(name: str) -> Seen:
        state = queue_state_of(machine, groups.find(name))
        return Seen(name, len(state.queues), state.unread + state.in_flight, state.behind)

    return lambda after, count: [partial(seen, group.name) for group in groups.after(after, count)]


class _Behind(msgspec.Struct):
    """What a round has seen. ``since_ms`` is the log time of the oldest unread record; 0: none."""

    groups: int = 0
    most: int = 0
    since_ms: int = 0


class GroupLag:
    """Looks at one shard's machine: at groups with members, or at those that ``look`` finds.

    ``kind`` stands before the names of what it counts.
    """

    def __init__(
        self,
        machine: BrokerMachine,
        unread: UnreadTimes,
        scheduler: Scheduler,
        log_time_ms: Callable[[], int],
        look: Look | None = None,
        kind: str = "",
    ) -> None:
        self._machine: Final = machine
        self._groups: Final = stream_style(machine) if look is None else look
        self._kind: Final = kind
        self._unread: Final = unread
        self._scheduler: Final = scheduler
        self._log_time_ms: Final = log_time_ms
        self._looked_ns: int | None = None
        self._is_looking = False
        """Whether a file is being read for it."""
        self._after = ""
        """The last group that this round has looked at."""
        self._round = _Behind()
        self._told = _Behind()

    def counters(self) -> Mapping[str, int]:
        """Return groups that are behind, and of the one most behind: records, and since when."""
        now_ns = self._scheduler.now_ns()
        if not self._is_looking and (
            self._looked_ns is None or now_ns - self._looked_ns >= LOOK_NS
        ):
            self._looked_ns = now_ns
            self._look()
        told = self._told
        now_ms = max(self._log_time_ms(), self._machine.log_time_ms)
        age_ms = max(0, now_ms - told.since_ms) if told.since_ms else 0
        return {
            f"{self._kind}groups_behind_size": told.groups,
            f"{self._kind}group_lag_most_size": told.most,
            f"{self._kind}group_lag_ms_most_size": age_ms,
        }

    def _look(self) -> None:
        """Look at the next groups."""
        groups = self._groups(self._after, LOOK_GROUPS_MAX + 1)
        behind: list[Wanted] = []
        looked_at = seen = 0
        for group in groups[:LOOK_GROUPS_MAX]:
            state = group()
            seen += 1
            looked_at += state.queues
            if state.lag:
                self._round.groups += 1
                self._round.most = max(self._round.most, state.lag)
                behind += state.behind
            self._after = state.name
            if looked_at >= LOOK_QUEUES_MAX:
                break
        is_last = seen == len(groups)

        def found(times: Mapping[Wanted, int]) -> None:
            self._is_looking = False
            known = [self._round.since_ms] if self._round.since_ms else []
            self._round.since_ms = min([*known, *times.values()], default=0)
            if is_last:
                self._told, self._round, self._after = self._round, _Behind(), ""

        self._is_looking = True
        self._unread.find(self._unread.oldest(behind), found)


def lag_counters(
    machine: BrokerMachine,
    unread: UnreadTimes,
    scheduler: Scheduler,
    log_time_ms: Callable[[], int],
) -> Sequence[Callable[[], Mapping[str, int]]]:
    """Return what counts the groups of a shard that are behind: with members, and queue-style."""
    common = machine, unread, scheduler, log_time_ms
    return [
        GroupLag(*common).counters,
        GroupLag(*common, queue_style(machine), "queue_").counters,
    ]
