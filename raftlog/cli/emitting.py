"""Writes records to standard output: soon, in order, and quietly until nobody reads any more.

``raftlog sub orders | head -1`` is an ordinary use: when the reader of a pipe
has gone, ``ReaderGone`` ends the command with 0 and without a word.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

from raftlog.cli.formats import Fields


class ReaderGone(Exception):
    """Nobody reads our standard output any more."""


class Emitter:
    """Renders records and writes them; used from one task.

    Writing blocks when the reader is slow, so it happens in a thread: a member
    of a group has to be heard of meanwhile.
    """

    def __init__(self, render: Callable[[Fields], bytes], output: BinaryIO | None = None) -> None:
        self._render: Final = render
        self._output: Final = sys.stdout.buffer if output is None else output
        self._waiting: list[bytes] = []
        self.count = 0
        """Records that were written, or wait for it."""

    def add(self, records: Iterable[Fields]) -> None:
        """Take records: one batch, or one poll."""
        rendered = list(map(self._render, records))
        self._waiting += rendered
        self.count += len(rendered)

    async def flush(self) -> None:
        """Write what waits; returns when the pipe or the terminal has it.

        Raises:
            ReaderGone: Nobody reads any more.
        """
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        try:
            self._output.write(data)
            self._output.flush()
        except BrokenPipeError:
            raise ReaderGone from None


def leave_quietly() -> None:
    """Let the interpreter flush into nothing at its end, as nobody reads any more."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
