"""Iterators that ask one bounded question after the other, for threads."""

from collections import deque
from functools import cached_property
from typing import Generic, Self, TypeVar

from raftlog.client import message_history as aio_history
from raftlog.client import search as aio_search
from raftlog.client import seek_history as aio_seeks
from raftlog.client.blocking import Face, blocking
from raftlog.client.log_walking import WalkProgress
from raftlog.client.receipts import Message

T = TypeVar("T")


class Steps(Generic[T]):
    """Iterates over what ``step`` brings; for one thread at a time."""

    def step(self) -> list[T] | None:
        """Ask one question; see the asynchronous ``step``."""
        raise NotImplementedError

    def __iter__(self) -> Self:
        """Iterate over what is found."""
        return self

    def __next__(self) -> T:
        """Return the next one; see the asynchronous ``__anext__``."""
        while not self._chunk:
            found = self.step()
            if found is None:
                raise StopIteration
            self._chunk.extend(found)
        return self._chunk.popleft()

    @cached_property
    def _chunk(self) -> deque[T]:
        return deque()


class Search(Face[aio_search.Search], Steps[Message]):
    """A search: an iterator over what matches."""

    step = blocking(aio_search.Search.step)

    @property
    def progress(self) -> aio_search.SearchProgress:
        """How far it is."""
        return self._inner.progress


class GroupSeeks(Face[aio_seeks.GroupSeeks], Steps[aio_seeks.GroupSeek]):
    """The seeks of one group: an iterator, oldest first."""

    step = blocking(aio_seeks.GroupSeeks.step)

    @property
    def progress(self) -> WalkProgress:
        """How far it is."""
        return self._inner.progress


class MessageHistory(Face[aio_history.MessageHistory], Steps[aio_history.MessageEvent]):
    """What the log says about one message: an iterator, oldest first."""

    step = blocking(aio_history.MessageHistory.step)

    @property
    def progress(self) -> WalkProgress:
        """How far it is."""
        return self._inner.progress
