"""Every message between replicas arrives as it left."""

from typing import Final, get_args

import pytest
from crc32c import crc32c

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import ProtocolError
from raftlog.base.ids import Index, ShardId, Term
from raftlog.raft import rpcs
from raftlog.transport.peer_codec import decode_message, encode_message
from raftlog.wire.frame import PREFIX_BYTES, PROTOCOL_VERSION, Frame, FrameDecoder, Method

LARGE: Final = (1 << 63) + 1


def chain(first: int, count: int) -> tuple[Entry, ...]:
    """Return linked entries of term 3."""
    entries: list[Entry] = []
    previous = CHAIN_ORIGIN
    for index in range(first, first + count):
        entry = seal(EntryKind.COMMANDS, Term(3), Index(index), previous, [b"body %d" % index])
        entries.append(entry)
        previous = entry.checksum
    return tuple(entries)


def carried(message: rpcs.PeerMessage) -> tuple[int, rpcs.PeerMessage]:
    """Send a message through bytes; return shard and message."""
    decoder = FrameDecoder()
    data = b"".join(encode_message(ShardId(70_000), message))
    decoder.get_buffer()[: len(data)] = data
    decoder.buffer_updated(len(data))
    (frame,) = decoder.frames()
    return frame.shard, decode_message(frame)


MESSAGES: Final[list[rpcs.PeerMessage]] = [
    rpcs.PreVoteRequest(Term(LARGE), Term(2), Index(LARGE)),
    rpcs.PreVoteReply(Term(1), granted=True),
    rpcs.VoteRequest(Term(1), Term(2), Index(3), transfer=True),
    rpcs.VoteReply(Term(1), granted=False),
    rpcs.AppendRequest(Term(4), Term(3), Index(6), Index(5), chain(7, 20)),
    rpcs.AppendRequest(Term(4), Term(0), Index(0), Index(0), ()),
    rpcs.AppendAccepted(Term(1), Index(2)),
    rpcs.AppendAccepted(Term(1), Index(2), LARGE),
    rpcs.AppendRejected(Term(1), Index(2), Term(3), Index(4)),
    rpcs.Heartbeat(Term(1), Index(2), 3),
    rpcs.Heartbeat(Term(1), Index(2), 3, (1 << 32) - 1),
    rpcs.HeartbeatReply(Term(1), 2),
    rpcs.HeartbeatReply(Term(1), 2, 1, LARGE, 60_000),
    rpcs.TimeoutNow(Term(1)),
    rpcs.ReadIndexRequest(Term(1), LARGE),
    rpcs.ReadIndexReply(Term(1), 2, Index(3)),
    rpcs.RepairRequest(Index(1), Index(2)),
    rpcs.RepairReply(()),
    rpcs.RepairReply(chain(5, 3)),
    rpcs.SnapshotOffer(Term(3), Index(LARGE)),
    rpcs.InstallRequest(Index(LARGE), 2, 1 << 33),
    rpcs.InstallChunk(Index(7), 2, 5, 1 << 33, crc32c(b"piece"), b"piece"),
    rpcs.InstallChunk(Index(7), 2, 5, 0, 0, b""),
    rpcs.FileRequest(2, Index(LARGE), LARGE),
    rpcs.FileChunk(1, Index(5), 70_000, 80_000, 0xFFFFFFFF, b"some bytes"),
    rpcs.DivergenceAlarm(Index(LARGE)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_left(message: rpcs.PeerMessage) -> None:
    """No field is lost, none takes another's place."""
    assert carried(message) == (70_000, message)


def test_every_message_of_the_union_is_in_the_table_above() -> None:
    """A message added to raft without a frame is found here."""
    assert {type(message) for message in MESSAGES} == set(get_args(rpcs.PeerMessage))


LAYOUTS: Final = [
    pytest.param(
        rpcs.AppendRequest(Term(1), Term(2), Index(3), Index(LARGE), ()),
        "0100000000000000020000000000000003000000000000000100000000000080",
        id="AppendRequest",
    ),
    pytest.param(
        rpcs.AppendAccepted(Term(1), Index(2), 3),
        "010000000000000002000000000000000300000000000000",
        id="AppendAccepted",
    ),
    pytest.param(
        rpcs.Heartbeat(Term(1), Index(2), 3),
        "010000000000000002000000000000000300000000000000ffffffffffffffff",
        id="Heartbeat",
    ),
    pytest.param(
        rpcs.HeartbeatReply(Term(1), 2, 1, 3, 4, is_aside=True),
        "010000000000000002000000000000000103000000000000000400000001",
        id="HeartbeatReply",
    ),
]


@pytest.mark.parametrize(("message", "header"), LAYOUTS)
def test_a_fixed_layout_stays_as_it_is(message: rpcs.PeerMessage, header: str) -> None:
    """Another layout would be another protocol version."""
    assert PROTOCOL_VERSION == 3
    assert b"".join(encode_message(ShardId(0), message))[PREFIX_BYTES:].hex() == header


@pytest.mark.parametrize("length", [0, 23, 25, 32])
def test_a_header_of_another_length_than_its_layout_is_refused(length: int) -> None:
    """Nothing is read beside it, nothing is left over."""
    frame = Frame(Method.APPEND_ACCEPTED, 0, 0, 0, bytes(length), b"")
    with pytest.raises(ProtocolError, match="AppendAccepted: its header is wrong"):
        decode_message(frame)


BAD_ENTRIES: Final = [
    pytest.param(chain(7, 2)[::-1], id="not in order"),
    pytest.param((chain(7, 3)[0], chain(7, 3)[2]), id="with a gap"),
    pytest.param(chain(8, 1), id="not after the previous one"),
]


@pytest.mark.parametrize("entries", BAD_ENTRIES)
def test_entries_that_are_no_chain_are_refused_at_the_gate(entries: tuple[Entry, ...]) -> None:
    """Inside, the core relies on it."""
    with pytest.raises(ProtocolError):
        carried(rpcs.AppendRequest(Term(4), Term(3), Index(6), Index(5), entries))


def test_an_entry_of_a_later_term_than_its_message_is_refused() -> None:
    """No leader has one; stored under an older hard state, it would keep the log from opening."""
    with pytest.raises(ProtocolError, match="term 2 carries entry 7 of term 3"):
        carried(rpcs.AppendRequest(Term(2), Term(2), Index(6), Index(5), chain(7, 1)))


def test_no_flipped_bit_of_an_entry_gets_through() -> None:
    """The frame's checksum leaves the payload to the entries' own."""
    message = rpcs.AppendRequest(Term(4), Term(3), Index(6), Index(5), chain(7, 1))
    buffers = encode_message(ShardId(0), message)
    good = b"".join(buffers)
    size = message.entries[0].size
    for place in range(len(good) - size, len(good)):
        bad = bytearray(good)
        bad[place] ^= 0x10
        decoder = FrameDecoder()
        decoder.get_buffer()[: len(bad)] = bad
        decoder.buffer_updated(len(bad))
        (frame,) = decoder.frames()
        with pytest.raises(ProtocolError):
            decode_message(frame)
