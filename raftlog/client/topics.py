"""Administration of topics."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

import msgspec

from raftlog.base.errors import BadRequest, TopicExists, TopicNotFound
from raftlog.base.message_types import MessageType, TypesLike, read_types
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog, message_types, number_of
from raftlog.client.durations import Duration, moment_of, seconds
from raftlog.client.log_space import LogHold, read_hold
from raftlog.client.starting import Start, check_start, start_offsets
from raftlog.wire.frame import Method
from raftlog.wire.schema import topics

PAGE: int = 1000


class QueueInfo(msgspec.Struct, frozen=True, gc=False):
    """One queue: its place in the topic, the offsets that can be read, and its bytes."""

    queue: int
    start_offset: int
    end_offset: int
    """That the next record gets."""
    bytes: int = 0
    """Of its batches that the log still has, those before its start included."""
    delayed: int = 0
    """Batches that are not visible yet."""


class ShortenedWindow(msgspec.Struct, frozen=True, gc=False):
    """A business id had to leave before its window was over: when, and how long it was kept."""

    at: datetime
    kept: timedelta


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic, its settings and its queues.

    ``retention`` is None where records are kept for ever, ``retention_bytes`` (of each
    queue) where there is no bound. ``hold`` says what keeps the log from being trimmed,
    None if nothing does, and ``holding`` the places of this topic's queues that need that
    part of it.

    ``id_window`` is how long business ids are remembered, None: not at all; ``ids`` how many
    are, and ``ids_shortened`` the last time that one left early, because the shard had no room.
    ``until_consumed``: records go earlier when every group has committed past them. ``types``:
    which messages it takes; all, unless it was told otherwise.
    """

    name: str
    queues: tuple[QueueInfo, ...]
    retention: timedelta | None
    retention_bytes: int | None
    readable: bool
    writable: bool
    hold: LogHold | None = None
    holding: tuple[int, ...] = ()
    id_window: timedelta | None = None
    ids: int = 0
    ids_shortened: ShortenedWindow | None = None
    until_consumed: bool = False
    types: frozenset[MessageType] = frozenset(MessageType)

    @property
    def bytes(self) -> int:
        """Of its batches that the log still has."""
        return sum(queue.bytes for queue in self.queues)


class TopicSummary(msgspec.Struct, frozen=True):
    """A topic in a list: how many queues, how many records can be read, and their bytes."""

    name: str
    queues: int
    records: int
    retention: timedelta | None
    retention_bytes: int | None
    bytes: int = 0


class Topics:
    """The topics of a cluster: ``client.topics``.

    Every method raises ``Unavailable`` when there is no leader within its timeout
    (seconds; without it, the client's). One that changes something and is cancelled or
    unanswered (``OutcomeUnknown``) may have done it: ``describe`` shows.
    """

    def __init__(self, asker: Asker, catalog: Catalog) -> None:
        self._asker = asker
        self._catalog = catalog

    async def create(  # noqa: PLR0913  (one option for each setting)
        self,
        name: str,
        *,
        queues: int | None = None,
        retention: Duration | None = None,
        retention_bytes: int | None = None,
        readable: bool | None = None,
        writable: bool | None = None,
        id_window: Duration | None = None,
        until_consumed: bool | None = None,
        types: TypesLike | None = None,
        exist_ok: bool = False,
        timeout: Duration | None = None,
    ) -> TopicInfo:
        """Create a topic.

        Args:
            name: 1 to 127 letters, digits, ``.``, ``_``, ``-``.
            queues: How many; 4 without it. More can be added later.
            retention: Records may be forgotten after it; 72 h without it, 0: never.
            retention_bytes: Of each queue; beyond it the oldest may be forgotten; 0: no bound.
            readable: Whether it can be read.
            writable: Whether it can be written.
            id_window: A record with an ``id`` is stored once in it; 10 min without it, at most
                7 days; 0: ids mean nothing.
            until_consumed: Records may be forgotten as soon as every group of the topic has
                committed past them, and are at the latest by ``retention`` or
                ``retention_bytes``, one of which is needed.
            types: Which messages it takes: ``"normal"``, ``"fifo"``, ``"delayed"``,
                ``"transactional"``, as a collection or with commas between, or ``"any"``; all
                without it. With ``"fifo"`` and not ``"normal"``, what is sent needs a key.
            exist_ok: A topic that is there already is returned as it is.
            timeout: Seconds for all of it.

        Raises:
            TopicExists: It is there already.
            BadName: No topic can have that name.
            BadRequest: A setting makes no sense; or types are given, and a member of the cluster
                has an older version, or is away.
            LimitReached: The shard has no room for it.
            OutcomeUnknown: No answer (not with ``exist_ok``, which asks again).
        """
        settings = _settings(
            *(queues, retention, retention_bytes, readable),
            *(writable, id_window, until_consumed, types),
        )
        try:
            answer, _ = await self._asker.ask(
                Method.TOPIC_CREATE,
                topics.CreateTopic(name=name, settings=settings),
                topics.TopicDescription,
                timeout_s=_budget(timeout),
                repeats=exist_ok,
            )
        except TopicExists:
            if not exist_ok:
                raise
            return await self.describe(name, timeout=timeout)
        _check_types(settings, answer)
        return self._info(answer)

    async def alter(  # noqa: PLR0913  (one option for each setting)
        self,
        name: str,
        *,
        queues: int | None = None,
        retention: Duration | None = None,
        retention_bytes: int | None = None,
        readable: bool | None = None,
        writable: bool | None = None,
        id_window: Duration | None = None,
        until_consumed: bool | None = None,
        types: TypesLike | None = None,
        timeout: Duration | None = None,
    ) -> TopicInfo:
        """Change settings; what is not given stays. Asking again is harmless.

        Raises:
            TopicNotFound: There is no such topic.
            BadRequest: A setting makes no sense, or there would be fewer queues; or ``types``, as
                for ``create``, are those of a topic of the system.
            LimitReached: The shard has no room for more queues.
        """
        settings = _settings(
            *(queues, retention, retention_bytes, readable),
            *(writable, id_window, until_consumed, types),
        )
        answer, _ = await self._asker.ask(
            Method.TOPIC_ALTER,
            topics.AlterTopic(name=name, settings=settings),
            topics.TopicDescription,
            timeout_s=_budget(timeout),
            repeats=True,
        )
        _check_types(settings, answer)
        return self._info(answer)

    async def delete(
        self, name: str, *, missing_ok: bool = False, timeout: Duration | None = None
    ) -> None:
        """Delete a topic with all its records.

        Raises:
            TopicNotFound: There is no such topic (not with ``missing_ok``).
            OutcomeUnknown: No answer (not with ``missing_ok``, which asks again).
        """
        try:
            await self._asker.ask(
                Method.TOPIC_DELETE,
                topics.DeleteTopic(name=name),
                topics.TopicDeleted,
                timeout_s=_budget(timeout),
                repeats=missing_ok,
            )
        except TopicNotFound:
            if not missing_ok:
                raise
        finally:
            self._catalog.forget(name)

    async def describe(self, name: str, *, timeout: Duration | None = None) -> TopicInfo:
        """Return a topic, with its ends as they are now (linearizable).

        Raises:
            TopicNotFound: There is no such topic; the error names the nearest one.
        """
        answer, _ = await self._asker.ask(
            Method.TOPIC_DESCRIBE,
            topics.DescribeTopic(name=name),
            topics.TopicDescription,
            timeout_s=_budget(timeout),
        )
        return self._info(answer)

    async def offsets(
        self,
        name: str,
        at: Start,
        *,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> Mapping[int, int]:
        """Return the offset of a position, by queue's place: where reading would begin.

        Args:
            name: The topic.
            at: "earliest", "latest", a ``datetime`` with time zone or a ``timedelta`` from
                now (negative: ago). Times are those of storing. An offset is returned as it is.
            queue: The place of one queue; None: all of them.
            timeout: Seconds for all of it.

        Raises:
            TopicNotFound: There is no such topic.
            WrongQueue: It has no such queue.
        """
        check_start(at)
        found = await start_offsets(self._asker, name, at, queue=queue, timeout_s=_budget(timeout))
        return {place: offset for place, (_, offset) in found.items()}

    async def list(self, *, timeout: Duration | None = None) -> list[TopicSummary]:
        """Return all topics, by name."""
        return [summary async for summary in self._pages(_budget(timeout))]

    async def _pages(self, timeout_s: float | None) -> AsyncIterator[TopicSummary]:
        after = ""
        while True:
            answer, _ = await self._asker.ask(
                Method.TOPIC_LIST,
                topics.ListTopics(after=after, count_max=PAGE),
                topics.TopicsListed,
                timeout_s=timeout_s,
            )
            for topic in answer.topics:
                yield TopicSummary(
                    topic.name,
                    topic.queues,
                    topic.records,
                    _retention(topic.retention_ms),
                    topic.retention_bytes or None,
                    topic.bytes,
                )
            if not answer.more or not answer.topics:
                return
            after = answer.topics[-1].name

    def _info(self, answer: topics.TopicDescription) -> TopicInfo:
        self._catalog.learn(answer)
        settings = answer.settings
        return TopicInfo(
            answer.name,
            tuple(
                QueueInfo(
                    *(place, queue.start_offset, queue.end_offset, queue.bytes, queue.delayed)
                )
                for place, queue in enumerate(answer.queues)
            ),
            _retention(settings.retention_ms),
            settings.retention_bytes or None,
            settings.readable,
            settings.writable,
            read_hold(answer.hold) if answer.HasField("hold") else None,
            tuple(answer.holding),
            _retention(settings.id_window_ms),
            answer.ids,
            _shortened(answer),
            settings.until_consumed,
            _types(settings),
        )


def _settings(
    queues: int | None,
    retention: Duration | None,
    retention_bytes: int | None,
    readable: bool | None,  # noqa: FBT001  (as the message has them)
    writable: bool | None,  # noqa: FBT001
    id_window: Duration | None,
    until_consumed: bool | None,  # noqa: FBT001
    types: TypesLike | None,
) -> topics.TopicSettings:
    if queues is not None and queues < 1:
        raise BadRequest(f"a topic has at least 1 queue, not {queues}")
    return topics.TopicSettings(
        queues=queues,
        retention_ms=None if retention is None else int(seconds(retention) * 1000),
        retention_bytes=retention_bytes,
        readable=readable,
        writable=writable,
        id_window_ms=None if id_window is None else int(seconds(id_window) * 1000),
        until_consumed=until_consumed,
        types=() if types is None else [number_of(kind) for kind in sorted(read_types(types))],
    )


def _check_types(asked: topics.TopicSettings, answer: topics.TopicDescription) -> None:
    """Complain if what was asked for was not heard.

    Raises:
        BadRequest: The leader has a version that knows no types, and has left them out.
    """
    if asked.types and not answer.settings.types:
        raise BadRequest(
            f"topic {answer.name!r} is there and takes all messages: the leader has an older "
            "version, which knows no types; alter it when all nodes have this one"
        )


def _types(settings: topics.TopicSettings) -> frozenset[MessageType]:
    """Return what a topic takes; a node of an older version says nothing, and takes all."""
    return frozenset(message_types(settings) or MessageType)


def _retention(retention_ms: int) -> timedelta | None:
    return timedelta(milliseconds=retention_ms) if retention_ms else None


def _shortened(answer: topics.TopicDescription) -> ShortenedWindow | None:
    if not answer.ids_shortened_ms:
        return None
    kept = timedelta(milliseconds=answer.ids_kept_ms)
    return ShortenedWindow(moment_of(answer.ids_shortened_ms), kept)


def _budget(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout)
