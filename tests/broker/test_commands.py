"""The command envelope: read back as it was made, or refused before the first command."""

import pytest

from raftlog.base.errors import CorruptFrame, IncompatibleFormat, RaftlogError
from raftlog.broker.commands import (
    COMMAND,
    ENVELOPE,
    FEATURE_LEVEL,
    Command,
    CommandType,
    decode,
    decode_one,
    envelope,
    envelopes_of_one,
)

RAW = int(CommandType.RAW)
APPEND = int(CommandType.APPEND_BATCH)


def body_of(*commands: Command, log_time_ms: int = 1) -> bytes:
    return b"".join(envelope(log_time_ms, commands))


def test_an_envelope_reads_back_with_the_place_of_each_command() -> None:
    """Apply slices the body by these places; one byte off is another command."""
    body = body_of(
        Command(RAW, (b"ab", memoryview(b"cd"))),
        Command(APPEND, ()),
        Command(RAW, (b"e" * 300,)),
        log_time_ms=77,
    )
    read = decode(memoryview(body))
    assert (read.feature_level, read.log_time_ms, len(read)) == (FEATURE_LEVEL, 77, 3)
    found = [(kind, body[position : position + length]) for kind, position, length in read]
    assert found == [(RAW, b"abcd"), (APPEND, b""), (RAW, b"e" * 300)]


def test_an_envelope_is_parts_so_that_a_payload_is_copied_once() -> None:
    """The frame join is the one copy of a payload; the envelope must not add another."""
    payload = bytes(1000)
    assert any(part is payload for part in envelope(1, [Command(RAW, (payload,))]))


def test_bodies_of_one_command_are_ordinary_envelopes() -> None:
    """A shortcut that wrote other bytes would be a second format."""
    commands = [Command(RAW, (b"ab", b"c")), Command(APPEND, ())]
    short = [b"".join(parts) for parts in envelopes_of_one(9, commands)]
    assert short == [body_of(command, log_time_ms=9) for command in commands]


def test_the_shortcut_reads_what_decode_reads_or_leaves_it_to_decode() -> None:
    """It must never accept what ``decode`` refuses."""
    one = body_of(Command(RAW, (b"abc",)))
    assert decode_one(one) == decode(one).places[0]
    others = [body_of(), body_of(Command(RAW, ()), Command(RAW, ())), one[:-1], one + b"x"]
    others += [body for body, _ in NEWER.values()] + list(MALFORMED.values())
    assert [decode_one(body) for body in others] == [None] * len(others)


def test_an_entry_without_commands_carries_log_time() -> None:
    """The leader proposes empty entries to move log time (ruling 8)."""
    read = decode(body_of(log_time_ms=9))
    assert (list(read), read.log_time_ms) == ([], 9)


GOOD = COMMAND.pack(RAW, 0, 2) + b"ab"
NEWER = {
    "format": (ENVELOPE.pack(2, 1, 5, 1) + GOOD, "envelope format 2"),
    "format zero": (ENVELOPE.pack(0, 1, 5, 1) + GOOD, "envelope format 0"),
    "feature level": (
        ENVELOPE.pack(1, FEATURE_LEVEL + 1, 5, 1) + GOOD,
        f"feature level {FEATURE_LEVEL + 1}",
    ),
    "type": (ENVELOPE.pack(1, 1, 5, 1) + COMMAND.pack(99, 0, 0), "command type 99"),
    "flags": (ENVELOPE.pack(1, 1, 5, 1) + COMMAND.pack(RAW, 4, 0), "flags 0x04"),
    "type after good ones": (
        ENVELOPE.pack(1, 1, 5, 2) + GOOD + COMMAND.pack(99, 0, 0),
        "command type 99",
    ),
}


@pytest.mark.parametrize("case", NEWER)
def test_what_a_newer_binary_wrote_is_refused_by_name(case: str) -> None:
    """Skipping an unknown command is divergence; the operator must learn what to run."""
    body, named = NEWER[case]
    with pytest.raises(IncompatibleFormat, match=named):
        decode(body)


MALFORMED = {
    "empty": b"",
    "short envelope": ENVELOPE.pack(1, 1, 5, 0)[:-1],
    "claims more commands": ENVELOPE.pack(1, 1, 5, 2) + GOOD,
    "claims a billion commands": ENVELOPE.pack(1, 1, 5, 1 << 30) + GOOD,
    "claims fewer commands": ENVELOPE.pack(1, 1, 5, 1) + GOOD + GOOD,
    "command longer than the body": ENVELOPE.pack(1, 1, 5, 1) + COMMAND.pack(RAW, 0, 3) + b"ab",
    "second command begins after the end": ENVELOPE.pack(1, 1, 5, 2)
    + COMMAND.pack(RAW, 0, 50)
    + bytes(10),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_body_is_refused_whole(case: str) -> None:
    """Its checksum was good, so some writer has a bug; applying a part of it hides that."""
    with pytest.raises(CorruptFrame):
        decode(MALFORMED[case])


def test_every_cut_of_a_body_is_refused() -> None:
    """No prefix of a body may pass as a shorter one."""
    body = body_of(Command(RAW, (b"abc",)), Command(RAW, (b"d",)))
    for size in range(len(body)):
        with pytest.raises(RaftlogError):
            decode(body[:size])


def test_an_unknown_type_cannot_be_proposed() -> None:
    """It would stop every replica at that entry, for ever."""
    with pytest.raises(AssertionError):
        envelope(1, [Command(99, ())])
