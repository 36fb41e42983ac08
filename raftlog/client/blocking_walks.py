"""Walks through the log, for threads."""

from collections import deque
from typing import Self

from raftlog.client import message_history as aio_history
from raftlog.client import seek_history as aio_seeks
from raftlog.client.blocking import Face, blocking
from raftlog.client.log_walking import WalkProgress
from raftlog.client.loop_thread import LoopThread


class GroupSeeks(Face[aio_seeks.GroupSeeks]):
    """The seeks of one group: an iterator, oldest first; for one thread at a time."""

    def __init__(self, thread: LoopThread, inner: aio_seeks.GroupSeeks) -> None:
        super().__init__(thread, inner)
        self._chunk: deque[aio_seeks.GroupSeek] = deque()

    def step(self) -> list[aio_seeks.GroupSeek] | None:
        """Ask one question; see the asynchronous ``step``."""
        return self._thread.run(self._inner.step())

    def __iter__(self) -> Self:
        """Iterate over what is found."""
        return self

    def __next__(self) -> aio_seeks.GroupSeek:
        """Return the next one; see the asynchronous ``__anext__``."""
        while not self._chunk:
            found = self.step()
            if found is None:
                raise StopIteration
            self._chunk.extend(found)
        return self._chunk.popleft()

    @property
    def progress(self) -> WalkProgress:
        """How far it is."""
        return self._inner.progress


class MessageHistory(Face[aio_history.MessageHistory]):
    """What the log says about one message: an iterator, oldest first; for one thread at a time."""

    def __init__(self, thread: LoopThread, inner: aio_history.MessageHistory) -> None:
        super().__init__(thread, inner)
        self._chunk: deque[aio_history.MessageEvent] = deque()

    step = blocking(aio_history.MessageHistory.step)

    def __iter__(self) -> Self:
        """Iterate over what is found."""
        return self

    def __next__(self) -> aio_history.MessageEvent:
        """Return the next one; see the asynchronous ``__anext__``."""
        while not self._chunk:
            found = self.step()
            if found is None:
                raise StopIteration
            self._chunk.extend(found)
        return self._chunk.popleft()

    @property
    def progress(self) -> WalkProgress:
        """How far it is."""
        return self._inner.progress
