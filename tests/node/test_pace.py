"""What peers lack leaves at a pace: slower than all that could, faster than what is written."""

from collections.abc import Sequence

import pytest

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.ids import Index, ReplicaId, Term
from raftlog.base.limits import CATCH_UP_BYTES_PER_S, CATCH_UP_PIECE_BYTES, KIB, MIB
from raftlog.broker.commands import Command, envelope
from raftlog.node import pace
from raftlog.node.pace import SECOND_NS, CatchUpPace
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    PeerMessage,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from tests.node.replicas import REPLICAS, Node
from tests.service.fakes import FakeScheduler


class Pace:
    """A pace, its clock, and what the replica has written."""

    def __init__(self) -> None:
        self.clock = FakeScheduler()
        self.written = 0
        self.pace = CatchUpPace(self.clock, lambda: self.written)

    def bytes_in(self, ns: int, piece: int = CATCH_UP_PIECE_BYTES) -> int:
        """Return how much leaves in a while if each piece asks when the one before has left."""
        ends_ns = self.clock.time_ns + ns
        sent = 0
        while True:
            delay_ns = self.pace.leave(piece)
            if self.clock.time_ns + delay_ns >= ends_ns:
                self.clock.time_ns = ends_ns
                return sent
            self.clock.time_ns += delay_ns
            sent += piece


def test_the_first_piece_leaves_at_once_and_all_at_the_rate() -> None:
    """Within a piece of it, over any time."""
    world = Pace()
    assert world.pace.leave(CATCH_UP_PIECE_BYTES) == 0
    sent = world.bytes_in(3 * SECOND_NS)
    assert abs(sent - 3 * CATCH_UP_BYTES_PER_S) <= CATCH_UP_PIECE_BYTES


def test_two_who_ask_share_the_rate() -> None:
    """It is this node's loop and disk that is spared."""
    world = Pace()
    delays = [world.pace.leave(MIB) for _ in range(4)]
    step = MIB * SECOND_NS // CATCH_UP_BYTES_PER_S
    assert delays == [0, step, 2 * step, 3 * step]


def test_what_was_not_used_is_not_saved_up() -> None:
    """A peer that was slow does not get a burst."""
    world = Pace()
    world.pace.leave(MIB)
    world.clock.time_ns += 60 * SECOND_NS
    assert world.pace.leave(MIB) == 0
    assert world.pace.leave(MIB) == MIB * SECOND_NS // CATCH_UP_BYTES_PER_S


def test_it_is_twice_as_fast_as_what_is_written() -> None:
    """Else nobody would catch up with a busy leader."""
    world = Pace()
    world.clock.time_ns += SECOND_NS
    world.written += 10 * CATCH_UP_BYTES_PER_S
    sent = world.bytes_in(SECOND_NS)
    assert abs(sent - 20 * CATCH_UP_BYTES_PER_S) <= CATCH_UP_PIECE_BYTES
    world.bytes_in(SECOND_NS)  # nothing is written any more
    assert abs(world.bytes_in(SECOND_NS) - CATCH_UP_BYTES_PER_S) <= CATCH_UP_PIECE_BYTES


# -- a leader whose log is on disk only

TURN_NS = SECOND_NS // 100
RATE = MIB


def commands(count: int, size: int) -> list[Entry]:
    """Return a chain of entries with one command each."""
    made: list[Entry] = []
    previous = CHAIN_ORIGIN
    for index in range(1, count + 1):
        body = envelope(index, [Command(1, [bytes(size)])])
        made.append(seal(EntryKind.COMMANDS, Term(1), Index(index), previous, body))
        previous = made[-1].checksum
    return made


class Leader:
    """n1, just started on a log of 3 MiB and elected; its followers answer when the test says."""

    def __init__(self) -> None:
        self.node = Node(voters=3, entries=commands(200, 16 * KIB))
        self.got = dict.fromkeys(REPLICAS, 0)
        self.has = dict.fromkeys(REPLICAS, Index(0))
        self.node.replica.start()
        self.follow(REPLICAS[1:], SECOND_NS, appends=False)
        assert self.node.replica.leads

    def follow(self, followers: Sequence[ReplicaId], ns: int, *, appends: bool = True) -> None:
        """Let some followers grant and acknowledge, for a while."""
        for _ in range(ns // TURN_NS):
            self.node.run(TURN_NS)
            sent, self.node.sent = self.node.sent, []
            for to, message in sent:
                for follower in followers:
                    if follower.node == to:
                        self._answer(follower, message, appends=appends)

    def _answer(self, follower: ReplicaId, message: PeerMessage, *, appends: bool) -> None:
        receive = self.node.replica.receive
        match message:
            case PreVoteRequest(term):
                receive(follower, PreVoteReply(term, granted=True))
            case VoteRequest(term):
                receive(follower, VoteReply(term, granted=True))
            case Heartbeat(term, _, number):
                receive(follower, HeartbeatReply(term, number))
            case AppendRequest(term) if appends:
                self._append(follower, term, message)

    def _append(self, follower: ReplicaId, term: Term, message: AppendRequest) -> None:
        receive, has = self.node.replica.receive, self.has[follower]
        before = message.previous_index
        if before > has:
            hint = Term(1) if has else Term(0)
            receive(follower, AppendRejected(term, before, hint, has))
            return
        self.got[follower] += sum(entry.size for entry in message.entries)
        self.has[follower] = max(has, Index(before + len(message.entries)))
        receive(follower, AppendAccepted(term, self.has[follower]))


@pytest.fixture
def leader(monkeypatch: pytest.MonkeyPatch) -> Leader:
    """Return one whose pace is 1 MiB a second."""
    monkeypatch.setattr(pace, "CATCH_UP_BYTES_PER_S", RATE)
    return Leader()


def test_a_follower_that_commits_wait_for_is_not_kept_waiting(leader: Leader) -> None:
    """n3 is silent: nothing is committed before n2 has everything."""
    leader.follow(REPLICAS[1:2], SECOND_NS // 2)
    assert leader.got[REPLICAS[1]] > 3 * RATE
    assert leader.node.replica.core.commit > 200


def test_one_that_nobody_waits_for_is_given_its_entries_at_the_pace(leader: Leader) -> None:
    """n2 has everything: n3 disturbs nobody."""
    leader.follow(REPLICAS[1:2], SECOND_NS // 2)
    leader.follow(REPLICAS[1:], 2 * SECOND_NS)
    assert abs(leader.got[REPLICAS[2]] - 2 * RATE) <= RATE // 2
    leader.follow(REPLICAS[1:], 2 * SECOND_NS)
    assert leader.got[REPLICAS[2]] > 3 * RATE


def test_a_successor_is_not_kept_waiting(leader: Leader) -> None:
    """Handing over has little time, and nobody may propose meanwhile."""
    leader.follow(REPLICAS[1:2], SECOND_NS // 2)
    leader.follow(REPLICAS[1:], 5 * TURN_NS)
    leader.node.replica.transfer(REPLICAS[2].node)
    leader.follow(REPLICAS[1:], SECOND_NS // 2)
    assert leader.got[REPLICAS[2]] > 3 * RATE
