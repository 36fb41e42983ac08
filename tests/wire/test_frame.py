"""The frame codec against cuts, rubbish and claims."""

import struct
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError
from raftlog.base.limits import (
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
    FRAME_UNPROVEN_BYTES_MAX,
    MIB,
)
from raftlog.wire.frame import (
    GROWTH_MAX,
    PREFIX_BYTES,
    RECEIVE_BYTES,
    Frame,
    FrameDecoder,
    Method,
    encode_frame,
)


def proven() -> FrameDecoder:
    """Return a decoder after its hello."""
    decoder = FrameDecoder()
    decoder.prove()
    return decoder


def feed(decoder: FrameDecoder, data: Buffer, step: int) -> Iterator[Frame]:
    """Give ``data`` to the decoder in pieces of at most ``step`` bytes."""
    view = memoryview(data)
    while view.nbytes:
        space = decoder.get_buffer()
        assert len(space), "no room to receive"
        count = min(step, len(space), len(view))
        space[:count] = view[:count]
        decoder.buffer_updated(count)
        view = view[count:]
        yield from decoder.frames()


def encoded(*args: object, **kwargs: object) -> bytes:
    """Return a frame as one piece."""
    return b"".join(encode_frame(*args, **kwargs))  # type: ignore[arg-type]


@given(
    bodies=st.lists(
        st.tuples(
            st.integers(1, 255),
            st.binary(max_size=300),
            st.lists(st.integers(0, 300_000), max_size=3),
        ),
        max_size=6,
    ),
    step=st.integers(1, RECEIVE_BYTES),
)
def test_frames_survive_every_way_of_cutting_the_stream(
    bodies: list[tuple[int, bytes, list[int]]], step: int
) -> None:
    """TCP has no messages: any cut may come, also inside a header."""
    frames = [
        (method, header, [bytes([number + 1]) * size for number, size in enumerate(sizes)])
        for method, header, sizes in bodies
    ]
    stream = b"".join(
        encoded(method, header, payload, request_id=number, shard=7, flags=3)
        for number, (method, header, payload) in enumerate(frames)
    )
    step = max(step, len(stream) // 2_000)
    received = list(feed(proven(), stream, step))
    assert [
        (frame.method, frame.header, bytes(frame.payload), frame.request_id) for frame in received
    ] == [
        (method, header, b"".join(payload), number)
        for number, (method, header, payload) in enumerate(frames)
    ]
    assert all(frame.shard == 7 and frame.flags == 3 for frame in received)


@given(data=st.binary(max_size=2_000), step=st.integers(1, 500))
def test_rubbish_is_refused_or_waited_for_and_never_anything_else(data: bytes, step: int) -> None:
    """Whatever arrives, the decoder raises its one error and holds no more than its buffer."""
    decoder = FrameDecoder()
    try:
        frames = list(feed(decoder, data, step))
    except ProtocolError:
        return
    assert not frames
    assert decoder.allocated_bytes == RECEIVE_BYTES


@given(bit=st.integers(0, 8 * (PREFIX_BYTES + 20) - 1))
def test_no_flipped_bit_of_a_header_goes_unseen(bit: int) -> None:
    """The checksum covers the fixed header and the protobuf header."""
    stream = bytearray(encoded(Method.VOTE_REQUEST, b"h" * 20, [b"payload"]))
    stream[bit // 8] ^= 1 << bit % 8
    decoder = proven()
    try:
        frames = list(feed(decoder, stream, 1_000))
    except ProtocolError:
        return
    assert not frames, "a damaged frame came out"


def claim(length: int, header_length: int, reserved: int = 0, method: int = 20) -> bytes:
    """Return a fixed header that claims these lengths, with a wrong checksum."""
    return struct.pack("<IIQIBBHI", length, header_length, 1, 0, method, 0, reserved, 0)


BAD_CLAIMS: Final = [
    pytest.param(claim(0xFFFF_FFFF, 10), True, id="4 GiB"),
    pytest.param(claim(FRAME_BODY_BYTES_MAX + 1, 10), True, id="one byte over the limit"),
    pytest.param(claim(FRAME_UNPROVEN_BYTES_MAX + 1, 10), False, id="large before hello"),
    pytest.param(claim(10, 11), True, id="header longer than the frame"),
    pytest.param(claim(MIB, FRAME_HEADER_BYTES_MAX + 1), True, id="header over its limit"),
    pytest.param(claim(10, 5, reserved=1), True, id="reserved bits"),
    pytest.param(claim(0, 0), True, id="bad checksum"),
]


@pytest.mark.parametrize(("data", "is_proven"), BAD_CLAIMS)
def test_a_bad_claim_is_refused_at_the_fixed_header(data: bytes, is_proven: bool) -> None:  # noqa: FBT001
    """No byte of the claimed body is waited for and no memory is spent on it."""
    decoder = proven() if is_proven else FrameDecoder()
    with pytest.raises(ProtocolError):
        list(feed(decoder, data, 100))
    assert decoder.allocated_bytes == RECEIVE_BYTES


def test_memory_follows_the_bytes_that_arrive_not_the_claim() -> None:
    """A peer that claims 5 MiB and sends 100 KiB costs no more than one that claims nothing."""
    decoder = proven()
    stream = encoded(Method.APPEND_REQUEST, b"", [bytes(5 * MIB - 100)])
    list(feed(decoder, stream[: 100 * 1024], 65_536))
    assert decoder.allocated_bytes == RECEIVE_BYTES
    list(feed(decoder, stream[100 * 1024 : 300 * 1024], 65_536))
    assert decoder.allocated_bytes <= RECEIVE_BYTES + GROWTH_MAX * RECEIVE_BYTES
    (frame,) = feed(decoder, stream[300 * 1024 :], 65_536)
    assert len(frame.payload) == 5 * MIB - 100
    assert decoder.allocated_bytes == RECEIVE_BYTES


def test_an_unfinished_frame_shows_its_progress_and_kind() -> None:
    """Bytes of entries refresh the election timer before the message is whole (ruling 32)."""
    decoder = proven()
    stream = encoded(Method.APPEND_REQUEST, b"header", [bytes(100_000)], shard=3)
    list(feed(decoder, stream[: PREFIX_BYTES + 3], 1_000))
    assert (decoder.partial_bytes, decoder.partial_method) == (PREFIX_BYTES + 3, 0)
    list(feed(decoder, stream[PREFIX_BYTES + 3 : 50_000], 10_000))
    assert decoder.partial_bytes == 50_000
    assert (decoder.partial_method, decoder.partial_shard) == (Method.APPEND_REQUEST, 3)
    assert len(list(feed(decoder, stream[50_000:], 10_000))) == 1
    assert (decoder.partial_bytes, decoder.partial_method) == (0, 0)


def test_payloads_stay_as_they_were_when_the_buffer_is_used_again() -> None:
    """Frames outlive the turn of the loop they arrived in."""
    decoder = proven()
    first = encoded(Method.APPEND, b"", [b"a" * 1_000]) + encoded(
        Method.APPEND, b"", [b"b" * 500_000]
    )
    frames = list(feed(decoder, first, 65_536))
    list(feed(decoder, encoded(Method.APPEND, b"", [b"z" * 600_000]), 65_536))
    assert [bytes(frame.payload[-1:]) for frame in frames] == [b"a", b"b"]
    assert bytes(frames[1].payload) == b"b" * 500_000


def test_large_payloads_are_passed_on_and_small_ones_joined() -> None:
    """A copy of a large buffer costs more than one more element of a gathered write."""
    large = bytes(100_000)
    buffers = encode_frame(Method.APPEND_REQUEST, b"h", [b"s", b"t", large, b"u"])
    assert len(buffers) == 3
    assert buffers[1] is large
