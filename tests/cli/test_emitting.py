"""Records are written in order and soon, and a reader that has gone is no error."""

import asyncio
import io
from dataclasses import dataclass

import pytest

from raftlog.cli.emitting import Emitter, ReaderGone


@dataclass(frozen=True)
class Stored:
    """A record as a reader gets it."""

    value: bytes
    topic: str = "t"
    queue: int = 0
    offset: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    tag: str | None = None


class Gone(io.BytesIO):
    """A pipe that nobody reads."""

    def write(self, _data: object, /) -> int:
        """Refuse as the kernel does."""
        raise BrokenPipeError(32, "Broken pipe")


def emitter(output: io.BytesIO) -> Emitter:
    """Return one that writes values."""
    return Emitter(lambda record: record.value or b"", output)


def test_nothing_is_written_before_a_flush_and_everything_by_it() -> None:
    """One write for many records."""
    output = io.BytesIO()
    emit = emitter(output)
    emit.add([Stored(b"a"), Stored(b"b")])

    assert output.getvalue() == b""
    asyncio.run(emit.flush())
    asyncio.run(emit.flush())
    assert (output.getvalue(), emit.count) == (b"ab", 2)


def test_a_reader_that_has_gone_is_told_apart_from_errors() -> None:
    """The command ends with 0 then."""
    emit = emitter(Gone())
    emit.add([Stored(b"a")])

    with pytest.raises(ReaderGone):
        asyncio.run(emit.flush())
