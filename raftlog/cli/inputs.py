"""Where the records of ``raftlog pub`` come from: an argument, lines, NDJSON, a whole file.

A terminal or a pipe may give a byte now and the next one in an hour, so reading
happens in a thread of its own; it is a daemon and uses a descriptor without a
buffer, because ctrl-C must end the command although that thread still waits in
``read``, and the interpreter does not end while somebody holds the lock of a
buffer.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from raftlog.base.errors import BadFormat, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, KIB
from raftlog.cli.ndjson import Outgoing, read_record
from raftlog.cli.output import say

CHUNK_BYTES: Final = 256 * KIB
CHUNKS_AHEAD: Final = 4


class InputFormat(Enum):
    """How an input is cut into records."""

    LINES = "lines"
    """Each line is a value, without the end of the line."""
    JSON = "json"
    """Each line is an object (``ndjson.py``); empty lines are skipped."""
    RAW = "raw"
    """The whole input is one value."""


class ByteSource(Protocol):
    """A file that is read from one thread."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most ``size`` bytes, b"" at the end. Blocks."""


def open_source(file: Path | None) -> AbstractContextManager[ByteSource]:
    """Open the file, or take standard input, which stays open.

    Raises:
        BadFormat: It can't be opened.
    """
    if file is None or str(file) == "-":
        return nullcontext(open(0, "rb", buffering=0, closefd=False))
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise BadFormat(f"{file} can't be read ({error.strerror}); correct the path") from error


@contextmanager
def named_source(file: Path | None) -> Iterator[tuple[ByteSource, str]]:
    """Open an input, as ``open_source``; give its name, too. A person who types is told how.

    Raises:
        BadFormat: It can't be opened.
    """
    with open_source(file) as source:
        name = "stdin" if file is None or str(file) == "-" else str(file)
        if name == "stdin" and sys.stdin.isatty():
            say("one record a line; ctrl-D ends the input")
        yield source, name


class Cutter:
    """Cuts bytes into records, as they come. Pure."""

    def __init__(self, form: InputFormat, name: str) -> None:
        self._form: Final = form
        self._name: Final = name
        self._rest = bytearray()
        self._line = 0

    def cut(self, chunk: bytes) -> list[Outgoing]:
        """Return the records that ``chunk`` completes.

        Raises:
            BadFormat: A line is no record; the text names it.
            RecordTooLarge: A line without an end is larger than any record.
        """
        if self._form is InputFormat.RAW or b"\n" not in chunk:
            self._keep(chunk)
            return []
        first, *lines = chunk.split(b"\n")
        self._keep(first)
        whole = [bytes(self._rest), *lines[:-1]]
        self._rest = bytearray(lines[-1])
        return list(self._records(whole))

    def end(self) -> list[Outgoing]:
        """Return what is left: a last line without an end, or all of it.

        Raises: as ``cut``.
        """
        rest = bytes(self._rest)
        self._rest.clear()
        if self._form is InputFormat.RAW:
            return [Outgoing(rest)]
        return list(self._records([rest])) if rest else []

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > BATCH_BYTES_MAX:
            raise RecordTooLarge(len(self._rest), BATCH_BYTES_MAX)

    def _records(self, lines: list[bytes]) -> Iterator[Outgoing]:
        for line in lines:
            self._line += 1
            line = line.removesuffix(b"\r")
            if self._form is InputFormat.LINES:
                yield Outgoing(line)
            elif line.strip():
                yield read_record(line, f"{self._name}:{self._line}")


async def records_of(
    source: ByteSource, form: InputFormat, name: str
) -> AsyncIterator[list[Outgoing]]:
    """Yield the records of an input as they come, in lists of those that came together.

    Raises: as ``Cutter.cut``; BadFormat for a source that can't be read on, too.
    """
    cutter = Cutter(form, name)
    try:
        async for chunk in _chunks(source):
            if records := cutter.cut(chunk):
                yield records
    except OSError as error:
        raise BadFormat(f"{name} can't be read on ({error.strerror}); see to it") from error
    if records := cutter.end():
        yield records


async def _chunks(source: ByteSource) -> AsyncIterator[bytes]:
    """Read in a thread, at most a few chunks ahead."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    places = threading.Semaphore(CHUNKS_AHEAD)

    def pump() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            places.acquire()
            try:
                chunk = source.read(CHUNK_BYTES) or b""
            except OSError as error:
                chunk = error
            except ValueError:
                return  # the file is closed: nobody wants the rest any more
            try:
                loop.call_soon_threadsafe(ready.put_nowait, chunk)
            except RuntimeError:
                return  # so is the loop

    threading.Thread(target=pump, name="pub-input", daemon=True).start()
    while True:
        chunk = await ready.get()
        places.release()
        if isinstance(chunk, OSError):
            raise chunk
        if not chunk:
            return
        yield chunk
