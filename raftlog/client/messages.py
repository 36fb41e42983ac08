"""Single messages of a topic: searched for, and traced, also before they can be read."""

from collections.abc import Callable, Sequence

from raftlog.base.errors import BadRequest
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.hidden_tracing import HiddenLike, HiddenTrace, ask_hidden
from raftlog.client.message_history import MessageHistory
from raftlog.client.search import Search, SearchBounds, SearchProgress
from raftlog.client.starting import Start
from raftlog.client.tracing import Trace, ask_trace
from raftlog.wire.filters import record_filter
from raftlog.wire.record_table import encode_id
from raftlog.wire.searches import RecordSearch


class Messages:
    """The messages of a cluster: ``client.messages``. Each is looked at, none is consumed."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def search(  # noqa: PLR0913  (one option for each thing that may be known of a record)
        self,
        topic: str,
        *,
        key: bytes | None = None,
        id: str | None = None,  # noqa: A002  (the name that it has everywhere)
        filter: str = "",  # noqa: A002  (what everybody calls it)
        tags: Sequence[str] = (),
        start: Start = "earliest",
        end: Start = "latest",
        queue: int | None = None,
        limit: int | None = None,
        timeout: Duration | None = None,
        on_progress: Callable[[SearchProgress], None] | None = None,
    ) -> Search:
        """Look for records; what is given must all hold. Iterate over the result.

        Args:
            topic: The topic. All of its queues are looked through: a key chooses a record's
                queue only if its sender left that choice to the key.
            key: The record's key.
            id: Its business id.
            filter: A condition over its headers, as for ``Client.reader``.
            tags: It has one of these tags.
            start: Look from here on: "earliest", an offset, a ``datetime`` with time zone, or a
                ``timedelta`` from now (negative: ago). Times are those of storing.
            end: And not at this or behind it; "latest": what is there when the search begins.
            queue: Only in the queue of this place.
            limit: End after so many.
            timeout: Seconds for each question; without it, the client's.
            on_progress: Called after every question.

        Raises:
            BadFilter: The filter does not parse; the text shows where.
            BadRequest: Nobody can have that id, or the limit is not positive.
            ValueError, TypeError: A start or end is none.
        """
        if id is not None:
            encode_id(id)
        if limit is not None and limit < 1:
            raise BadRequest(f"a limit of {limit}; 1 or more")
        timeout_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        return Search(
            self._asker,
            topic,
            RecordSearch(key, id, record_filter(tags, filter)),
            SearchBounds(start, end, queue, limit, timeout_s),
            on_progress,
        )

    async def trace(
        self, topic: str, queue: int, offset: int, *, timeout: Duration | None = None
    ) -> Trace:
        """Return everything that is known of one message: how it came, and who has read it.

        What was acknowledged before the question counts.

        Args:
            topic: The topic.
            queue: The place of its queue in the topic, from 0.
            offset: Its offset there.
            timeout: Seconds; without it, the client's.

        Raises:
            TopicNotFound, WrongQueue: There is no such topic, or it has no such queue.
            OffsetOutOfRange: No message has that offset, or none any more.
            NotPermitted: The topic may not be read by its settings.
            BadBatch, CodecUnavailable: Its batch can't be opened here.
            Unavailable: No leader within the timeout.
        """
        timeout_s = None if timeout is None else seconds(timeout)
        return await ask_trace(self._asker, topic, queue, offset, timeout_s)

    async def trace_hidden(
        self, hidden: HiddenLike, *, timeout: Duration | None = None
    ) -> HiddenTrace:
        """Return everything that is known of a message that nobody can read yet.

        A delayed one, or a half message; or what became of it, as far as that is remembered. What
        was acknowledged before the question counts.

        Args:
            hidden: Its receipt, or the handle in it; of a half message its ``transaction``; or
                what ``client.delayed.list`` or ``client.transactions.list`` has told.
            timeout: Seconds; without it, the client's.

        Raises:
            BadRequest: It is neither a handle nor the name of a transaction.
            WrongQueue: Its topic was deleted.
            UnknownTransactor, TransactionNotFound: There is no such transaction.
            TransactionForgotten: It was decided more than ten minutes ago.
            NotPermitted: The topic may not be read by its settings.
            BadBatch, CodecUnavailable: Its batch can't be opened here.
            Unavailable: No leader within the timeout.
        """
        timeout_s = None if timeout is None else seconds(timeout)
        return await ask_hidden(self._asker, hidden, timeout_s)

    def history(
        self,
        topic: str,
        queue: int,
        offset: int,
        *,
        group: str = "",
        timeout: Duration | None = None,
    ) -> MessageHistory:
        """Look for what the log says about a message, as far as it is kept: who did what, when.

        Leases, extensions, returns, acks, dead letters; commits of groups that have passed it,
        seeks; of a half message how it was decided. Iterate over the result.

        Args:
            topic: The topic.
            queue: The place of its queue in the topic, from 0.
            offset: Its offset there.
            group: Only what this group did: less is looked at, so it is faster.
            timeout: Seconds for each question; without it, the client's.
        """
        timeout_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        return MessageHistory(self._asker, (topic, queue, offset), group, timeout_s)
