"""Where records come from: cut as they come, and nothing waits for a chunk to be full."""

import asyncio
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadFormat, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.cli.inputs import Cutter, InputFormat, open_source, records_of
from raftlog.cli.ndjson import Outgoing

LINES, JSON, RAW = InputFormat.LINES, InputFormat.JSON, InputFormat.RAW


def cut(form: InputFormat, *chunks: bytes) -> list[bytes | None]:
    """Return the values that come out of chunks."""
    cutter = Cutter(form, "stdin")
    records = [record for chunk in chunks for record in cutter.cut(chunk)]
    return [record.value for record in (*records, *cutter.end())]


@pytest.mark.parametrize(
    ("form", "chunks", "values"),
    [
        (LINES, [b"a\nb\n"], [b"a", b"b"]),
        (LINES, [b"a\nb"], [b"a", b"b"]),
        (LINES, [b"a", b"b\n", b"c", b""], [b"ab", b"c"]),
        (LINES, [b"a\r\nb\n"], [b"a", b"b"]),
        (LINES, [b"a\n\nb\n"], [b"a", b"", b"b"]),
        (LINES, [b"\n"], [b""]),
        (LINES, [], []),
        (JSON, [b'{"value": "a"}\n\n  \n{"val', b'ue": "b"}'], [b"a", b"b"]),
        (RAW, [b"a\nb", b"\n"], [b"a\nb\n"]),
        (RAW, [], [b""]),
    ],
)
def test_an_input_is_cut(
    form: InputFormat, chunks: list[bytes], values: list[bytes | None]
) -> None:
    """An empty line is a record without content, the end of the input is none."""
    assert cut(form, *chunks) == values


@given(
    st.lists(st.binary(max_size=6).filter(lambda b: b"\n" not in b and b"\r" not in b)), st.data()
)
def test_how_it_arrives_changes_nothing(lines: list[bytes], data: st.DataObject) -> None:
    """Any division into chunks gives the same lines."""
    whole = b"".join(line + b"\n" for line in lines)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    chunks = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]

    assert cut(LINES, *chunks) == lines


def test_a_bad_line_is_named() -> None:
    """Counted from 1, empty ones included, across chunks."""
    cutter = Cutter(JSON, "orders.ndjson")
    cutter.cut(b'{"value": "a"}\n\n')

    with pytest.raises(BadFormat, match=r"^orders\.ndjson:3: "):
        cutter.cut(b"oops\n")


@pytest.mark.parametrize("form", [LINES, RAW])
def test_a_line_without_an_end_is_bounded(form: InputFormat) -> None:
    """Somebody gives a disk image as lines."""
    cutter = Cutter(form, "stdin")
    cutter.cut(bytes(BATCH_BYTES_MAX))

    with pytest.raises(RecordTooLarge):
        cutter.cut(b"x")


class Interrupted(io.BytesIO):
    """A disk that fails after the first line."""

    def read(self, _size: int | None = -1, /) -> bytes:
        """Give a line, then fail."""
        if self.tell():
            raise OSError(5, "Input/output error")
        self.seek(1)
        return b"a\n"


def test_records_come_through_the_thread() -> None:
    """In order, and the end is the end."""

    async def read() -> list[Outgoing]:
        source = io.BytesIO(b"".join(b"%d\n" % n for n in range(100_000)))
        return [r async for some in records_of(source, LINES, "stdin") for r in some]

    assert asyncio.run(read()) == [Outgoing(b"%d" % n) for n in range(100_000)]


def test_a_failed_read_is_raised_where_it_is_awaited() -> None:
    """After what came before it."""

    async def read() -> None:
        found = records_of(Interrupted(), LINES, "stdin")
        assert await anext(found) == [Outgoing(b"a")]
        with pytest.raises(BadFormat, match=r"^stdin can't be read on \(Input/output error\)"):
            await anext(found)

    asyncio.run(read())


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """In one sentence."""
    with pytest.raises(BadFormat, match=r"can't be read \(No such file"):
        open_source(tmp_path / "nope")
