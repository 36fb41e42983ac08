"""Simulated messages are the bytes that connections carry, and no bit of them is unguarded."""

from collections.abc import Sequence

import pytest
from crc32c import crc32c

from chaos.check.violation import Violation
from chaos.sim import wires
from chaos.sim.wires import Wire, size_of
from raftlog.base.entry import CHAIN_ORIGIN, EntryKind, seal
from raftlog.base.ids import Index, Term
from raftlog.raft import rpcs
from raftlog.wire.frame import Frame

ENTRY = seal(EntryKind.COMMANDS, Term(3), Index(8), CHAIN_ORIGIN, [b"value"])
DATA = b"a piece of a snapshot"
MESSAGES: Sequence[rpcs.PeerMessage] = (
    rpcs.VoteRequest(Term(3), Term(2), Index(7), transfer=True),
    rpcs.VoteReply(Term(3), granted=True, wall_ms=5),
    rpcs.AppendRequest(Term(3), Term(2), Index(7), Index(6), (ENTRY,)),
    rpcs.AppendRequest(Term(3), Term(2), Index(7), Index(6), ()),
    rpcs.AppendAccepted(Term(3), Index(8), 4),
    rpcs.Heartbeat(Term(3), Index(8), 2),
    rpcs.HeartbeatReply(Term(3), 2, pledged_ms=7, is_aside=True),
    rpcs.RepairReply((ENTRY,)),
    rpcs.InstallChunk(Index(8), 1, 0, len(DATA), crc32c(DATA), DATA),
    rpcs.FileChunk(1, Index(8), 0, len(DATA), crc32c(DATA), DATA),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_sent(message: rpcs.PeerMessage) -> None:
    """One after the other, on one connection."""
    wire = Wire()
    assert wire.carry(message) == message
    assert wire.carry(message) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_bit_is_guarded(message: rpcs.PeerMessage) -> None:
    """Whichever one is flipped, the receiver refuses the message; the next connection is good."""
    wire = Wire()
    for bit in range(8 * _bytes_of(message)):
        wire.flip(message, bit)
    assert wire.carry(message) == message


def test_what_is_taken_for_good_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that believes everything is found out."""

    def believe(_frame: Frame) -> rpcs.PeerMessage:
        return MESSAGES[0]

    monkeypatch.setattr(wires, "decode_message", believe)
    message = MESSAGES[2]
    with pytest.raises(Violation, match="is read as"):
        Wire().flip(message, 8 * _bytes_of(message) - 1)
    with pytest.raises(Violation, match="is read as"):
        Wire().carry(message)


def test_sizes_are_about_those_of_the_frames() -> None:
    """Bandwidth needs no more."""
    for message in MESSAGES:
        assert abs(size_of(message) - _bytes_of(message)) <= 40


def _bytes_of(message: rpcs.PeerMessage) -> int:
    return sum(map(len, wires.encode_message(wires.SHARD, message)))
