"""Business ids: a record that its producer names is stored once in a window (ruling 30).

::

    send(id=order-17) by one process --> offset 40, remembered for 10 minutes of log time
    send(id=order-17) by another one --> offset 40 again, and nothing is stored

The window is the topic's setting, what is remembered is the queue's. An id leaves when its
window is over, by the timetable; when the shard remembers as many as it may, the
oldest one *of the same topic* leaves before that, which its topic says of itself. So one
topic can't take another's window away.

All ids of a topic have one window, so each topic's ids leave in the order in which they
came. Which topic is next is in a heap of the topics' oldest ones; an entry may be too early,
and is set right when its time comes.
"""

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final

import msgspec

from raftlog.base.ids import Offset, Term
from raftlog.base.limits import BUSINESS_IDS_MAX
from raftlog.broker.queues import Queues
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.topics import Topics

Key = tuple[int, str]
"""Queue and id."""


class BusinessId(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """A record with an id was stored. A row of state."""

    queue: int
    id: str
    home: int
    """The first queue of its topic: it names the topic, also when that is deleted."""
    place: int
    """Of its command in the log (``places.CommandPlace.id``): orders ids by when they came."""
    log_time_ms: int
    base_offset: Offset
    term: Term


class ShortenedWindow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A topic's id had to leave before its window was over: the last time. A row of state."""

    home: int
    at_ms: int
    """Log time at which it left."""
    kept_ms: int
    """How long it had been remembered."""


class BusinessIds:
    """The ids of one shard, by queue. What falls due: to be forgotten."""

    def __init__(self, timetable: Timetable, topics: Topics, queues: Queues) -> None:
        self.table: Final[Table[Key, BusinessId]] = Table()
        self.shortened: Final[Table[int, ShortenedWindow]] = Table()
        self.due_ms = NEVER_MS
        self._timetable: Final = timetable
        self._topics: Final = topics
        self._queues: Final = queues
        self._homes: Final[dict[int, deque[Key]]] = {}
        """For each topic that has some its ids, oldest first."""
        self._heads: Final[list[tuple[int, int]]] = []
        """A heap of (when due, home)."""
        self._listed: Final[dict[int, int]] = {}
        """For each home in the heap when it is due, or earlier. Other entries mean nothing."""

    def load(self, rows: Iterable[BusinessId], shortened: Iterable[ShortenedWindow]) -> None:
        """Start from a snapshot; topics and queues are there already."""
        self.table.load(((row.queue, row.id), row) for row in rows)
        self.shortened.load((row.home, row) for row in shortened)
        self._homes.clear()
        self._heads.clear()
        self._listed.clear()
        for row in sorted(self.table.rows.values(), key=lambda row: row.place):
            self._homes.setdefault(row.home, deque()).append((row.queue, row.id))
        for home in self._homes:
            self._list(home, self._due_ms_of(home))
        self.due_ms = self._heads[0][0] if self._heads else NEVER_MS

    def window_ms(self, home: int) -> int | None:
        """Return how long a topic's ids are remembered; None: the topic is gone."""
        queue = self._queues.get(home)
        topic = None if queue is None else self._topics.get(queue.topic)
        return None if topic is None else topic.settings.id_window_ms

    def find(self, queue: int, id_: str) -> BusinessId | None:
        """Return what is remembered of an id."""
        return self.table.rows.get((queue, id_))

    def count(self, home: int) -> int:
        """Return how many ids of a topic are remembered."""
        return len(self._homes.get(home, ()))

    def remember(self, row: BusinessId) -> None:
        """Note a record that is stored now, and whose id ``find`` does not know."""
        if len(self.table) >= BUSINESS_IDS_MAX and not self._make_room(row):
            return
        self.table.put((row.queue, row.id), row)
        ids = self._homes.get(row.home)
        if ids is None:
            ids = self._homes[row.home] = deque()
        ids.append((row.queue, row.id))
        if len(ids) == 1:
            self._push(row.home)

    def _make_room(self, row: BusinessId) -> bool:
        """Let the oldest id of the same topic leave; return False if ``row`` is that itself."""
        ids = self._homes.get(row.home)
        kept_ms = 0
        if ids:
            kept_ms = row.log_time_ms - self.table.delete(ids.popleft()).log_time_ms
            if not ids:
                del self._homes[row.home]
        self.shortened.put(row.home, ShortenedWindow(row.home, row.log_time_ms, kept_ms))
        return ids is not None

    def topic_changed(self, home: int) -> None:
        """A topic's window is another one, or the topic is gone."""
        if self.window_ms(home) is None and self.shortened.get(home) is not None:
            self.shortened.delete(home)
        if home in self._homes:
            self._push(home)

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Forget the id whose time was over first, if one's is."""
        heads = self._heads
        is_done = False
        while heads and not is_done and heads[0][0] <= due_ms:
            listed_ms, home = heappop(heads)
            if self._listed.get(home) != listed_ms:
                continue
            del self._listed[home]
            ids = self._homes.get(home)
            if ids is None:
                continue
            if self._due_ms_of(home) == listed_ms:  # else it was too early, or another is next
                self.table.delete(ids.popleft())
                is_done = True
            if ids:
                self._list(home, self._due_ms_of(home))
            else:
                del self._homes[home]
        self.due_ms = heads[0][0] if heads else NEVER_MS
        return is_done

    def _push(self, home: int) -> None:
        """The topic has an oldest id that it had not, or this one's time is another."""
        due_ms = self._due_ms_of(home)
        if due_ms < self._listed.get(home, NEVER_MS):
            self._list(home, due_ms)
            if due_ms < self.due_ms:
                self.due_ms = due_ms
                self._timetable.note(due_ms)

    def _list(self, home: int, due_ms: int) -> None:
        self._listed[home] = due_ms
        heappush(self._heads, (due_ms, home))

    def _due_ms_of(self, home: int) -> int:
        """Return when a topic's oldest id is to leave; at once, if the topic is gone."""
        window_ms = self.window_ms(home)
        if window_ms is None:
            return 0
        return self.table.rows[self._homes[home][0]].log_time_ms + window_ms
