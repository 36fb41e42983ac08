"""The client of a cluster: everything begins here.

::

    async with Client("127.0.0.1:7201,127.0.0.1:7202") as client:
        await client.topics.create("orders", exist_ok=True)
        receipt = await client.send("orders", b"v", key=b"k")
        async with client.consumer("billing", ["orders"]) as consumer:
            async for message in consumer:
                ...

Any node will do as a seed: the client finds the leader and follows it. Nothing
is connected before it is needed. A client is bound to the loop that uses it
first; threads use ``raftlog.sync.Client``.
"""

import asyncio
import os
import secrets
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from raftlog.base.entry import Buffer
from raftlog.base.errors import Closed, WrongLoop
from raftlog.base.limits import PENDING_PROPOSALS_MAX, UNCOMMITTED_BYTES_MAX
from raftlog.client.administration import Administration
from raftlog.client.asking import Asker
from raftlog.client.atomic_dispatch import AtomicTicket
from raftlog.client.catalog import Catalog
from raftlog.client.checking import Checker
from raftlog.client.consumer import Consumer
from raftlog.client.durations import Duration, seconds, staleness_seconds
from raftlog.client.halves import TransactionalProducer
from raftlog.client.handing_over import Sharing
from raftlog.client.later import DelayedReceipt, DelayLike
from raftlog.client.node_status import NodeStatus, leader_status
from raftlog.client.open_halves import OpenHalves
from raftlog.client.packing import HeadersLike
from raftlog.client.producer import Producer
from raftlog.client.queue_consumer import HandlerEvent, QueueConsumer
from raftlog.client.queue_options import ConsumerOptions, opening_of
from raftlog.client.reader import Reader, Start
from raftlog.client.receipts import BatchReceipt, Receipt
from raftlog.client.routing import Router
from raftlog.client.subscription import Subscription
from raftlog.client.transacting import Transacting
from raftlog.wire.address import split_addresses
from raftlog.wire.batch import Record
from raftlog.wire.filters import record_filter
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages

OnLost = Literal["error", "skip"]
P = TypeVar("P", Producer, Consumer, QueueConsumer, Reader, TransactionalProducer)
Part = Producer | Consumer | QueueConsumer | Reader | TransactionalProducer


class Client(Administration, Transacting):
    """A client of one cluster. Used with ``async with``; bound to one loop.

    Args:
        seeds: Client addresses of some nodes: ``host:port``, several with commas between,
            or a sequence of them; also ``raftlog://host:port,host:port``.
        timeout: Seconds that a call is tried, where it is not told another; all its
            attempts together.
        cluster: Refuse any other cluster; "" takes the one that is found.
        client_id: A name for people, shown where consumer groups are listed, and for quotas.

    Raises:
        ValueError: A seed is no address, or there is none.

    The constructor does no I/O. Every call raises ``Closed`` after ``aclose`` and
    ``WrongLoop`` on another loop (or in a forked process).
    """

    def __init__(
        self,
        seeds: str | Sequence[str],
        *,
        timeout: Duration = 30.0,
        cluster: str = "",
        client_id: str = "",
    ) -> None:
        addresses = split_addresses(seeds)
        self._router = Router(addresses, cluster=cluster)
        self._routers = {0: self._router}
        self._seeds, self._cluster = addresses, cluster
        self._asker = Asker(self._router, timeout_s=seconds(timeout), client_id=client_id)
        self._catalog = Catalog(self._asker)
        self._client_id = client_id
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._parts: set[Part] = set()
        self._open_halves = OpenHalves()
        self._producer: Producer | None = None
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None
        super().__init__(self._asker, self._catalog, self._router_of)

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected before it is needed."""
        self._check()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    def __del__(self) -> None:
        """Complain about a client that was used and not closed."""
        if getattr(self, "_loop", None) is not None and not self._is_closed:
            warnings.warn(
                "unclosed raftlog.Client: use 'async with', or await aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    async def aclose(self) -> None:
        """Close, with all producers, consumers and readers. Idempotent.

        Sends without a receipt are waited for as long as their producer's timeout, then
        end in ``OutcomeUnknown``; consumers commit what was finished and leave their groups.
        Whoever closes it meanwhile waits for the same; cancelled, it is closed all the same.
        """
        if not self._is_closed:
            self._check()
            self._is_closed = True
            # Its own task: a handler or a hook that closes its client is ended by that.
            self._closing = asyncio.get_running_loop().create_task(self._close())
        if self._closing is not None and not self._closing.done():
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            parts = (part.aclose() for part in tuple(self._parts))
            # All of them, whatever one of them raises: the others need the connections.
            failures = await asyncio.gather(*parts, return_exceptions=True)
        finally:
            await self._close_atomics()
            self._catalog.close()
            for router in self._routers.values():
                await router.aclose()
        for failure in failures:
            if failure is not None:
                raise failure

    # -- administration

    async def status(self, *, timeout: Duration | None = None) -> NodeStatus:
        """Return what the leader says about itself.

        Raises:
            Unavailable: No leader within the timeout.
        """
        self._check()
        return await leader_status(self._asker, None if timeout is None else seconds(timeout))

    async def transfer_leader(
        self, target: str | None = None, *, timeout: Duration | None = None
    ) -> None:
        """Ask the leader to hand over to node ``target``, or to the best follower.

        Returns when it has begun; ``status`` shows the end.

        Raises:
            OutcomeUnknown: No answer; it may have begun.
            Unavailable: No leader within the timeout.
        """
        self._check()
        timeout_s = None if timeout is None else seconds(timeout)
        asked = messages.TransferLeader(target=target or "")
        answer = messages.TransferStarted
        await self._asker.ask(Method.TRANSFER, asked, answer, timeout_s=timeout_s)

    # -- sending

    def send(  # noqa: PLR0913  (one option for each thing that a record may have)
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        id: str | None = None,  # noqa: A002  (the name that it has everywhere)
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[Receipt]":
        """Send one record by the client's own producer: ``Producer.send``."""
        producer = self._producer
        if producer is None or self._is_closed:
            producer = self._default_producer()
        return producer.send(
            topic,
            value,
            key=key,
            headers=headers,
            tag=tag,
            timestamp=timestamp,
            id=id,
            queue=queue,
            timeout=timeout,
        )

    def send_batch(
        self,
        topic: str,
        batch: Buffer | Sequence[Record],
        *,
        key: bytes | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[BatchReceipt]":
        """Append records as one batch by the client's own producer: ``Producer.send_batch``."""
        return self._default_producer().send_batch(
            topic, batch, key=key, queue=queue, timeout=timeout
        )

    def send_later(  # noqa: PLR0913  (as ``send``, and when)
        self,
        topic: str,
        value: Buffer | None,
        *,
        delay: DelayLike | None = None,
        deliver_at: datetime | None = None,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[DelayedReceipt]":
        """Send one record that becomes visible later: ``Producer.send_later``."""
        return self._default_producer().send_later(
            topic,
            value,
            delay=delay,
            deliver_at=deliver_at,
            key=key,
            headers=headers,
            tag=tag,
            timestamp=timestamp,
            queue=queue,
            timeout=timeout,
        )

    async def resolve(
        self, ticket: object, *, timeout: Duration | None = None
    ) -> Receipt | BatchReceipt | DelayedReceipt | tuple[Receipt, ...]:
        """Find out what became of an own ``send``, or of an atomic transaction.

        As ``Producer.resolve``; of a transaction there are the receipts of all its sends.
        """
        if isinstance(ticket, AtomicTicket):
            self._check()
            return await ticket.result(
                self._asker.timeout_s if timeout is None else seconds(timeout)
            )
        return await self._default_producer().resolve(ticket, timeout=timeout)

    def producer(
        self,
        *,
        linger: Duration = 0.0,
        compression: str = "none",
        timeout: Duration | None = None,
        buffer_records: int = PENDING_PROPOSALS_MAX,
        buffer_bytes: int = UNCOMMITTED_BYTES_MAX,
    ) -> Producer:
        """Return a producer of its own name: its order and its room are its own.

        Args:
            linger: Seconds that a batch waits for more records; 0: to the end of the
                loop's turn.
            compression: "none", "zstd" or "lz4".
            timeout: Seconds that a send is tried; without it, the client's.
            buffer_records: Records without a receipt, at most; beyond it ``send`` waits
                and ``post`` raises ``BufferFull``.
            buffer_bytes: Likewise, in bytes.

        Raises:
            CodecUnavailable: No such codec, or its package is not installed.
        """
        self._check()
        return self._own(
            Producer(
                self._asker,
                self._catalog,
                linger=linger,
                compression=compression,
                timeout=timeout,
                buffer_records=buffer_records,
                buffer_bytes=buffer_bytes,
            )
        )

    def transactional_producer(
        self,
        name: str,
        *,
        group: str,
        checker: Checker | None = None,
        timeout: Duration | None = None,
    ) -> TransactionalProducer:
        """Return a producer of half messages: visible only once their local work is done.

        Args:
            name: Outlives the process: whoever begins under it again fences the one before.
            group: Whose members are asked about what was not decided.
            checker: Says what became of any transaction of the group. None: is not asked.
            timeout: Seconds that a call is tried; without it, the client's.
        """
        self._check()
        what = (name, group, checker, timeout, self._open_halves)
        return self._own(TransactionalProducer(self._asker, self._catalog, *what))

    # -- receiving

    def consumer(  # noqa: PLR0913  (one option for each thing that a group may want otherwise)
        self,
        group: str,
        topics: str | Sequence[str],
        *,
        start: Literal["earliest", "latest"] = "earliest",
        on_lost: OnLost = "error",
        auto_commit: bool = True,
        commit_interval: Duration = 1.0,
        session: Duration = 10.0,
        buffer_bytes: int = 16 << 20,
        staleness: Duration | None = None,
        filter: str = "",  # noqa: A002  (what everybody calls it)
        tags: Sequence[str] = (),
        sharing: Sharing | None = None,
    ) -> Consumer:
        """Return a member of a consumer group; it joins when it is entered or first asked.

        Args:
            group: The group's name. It begins with its first member.
            topics: One topic or several.
            start: Where a queue begins in which the group never committed anything.
            on_lost: A queue has forgotten records that were not read yet: "error" raises
                ``OffsetOutOfRange``, "skip" goes on with the first one there is.
            auto_commit: Commit what was finished, from time to time, on a rebalance and
                on closing. What was handed out is finished when the next one is asked for.
            commit_interval: Seconds between such commits.
            session: Seconds of silence after which the group gives the queues to others.
            buffer_bytes: Read ahead so much, all queues together, about.
            staleness: Read records from followers, as for ``reader``. Membership, positions and
                commits are the leader's as ever; ``status`` knows a queue's end, and so its lag,
                as the follower does.
            filter: Only records that meet this condition, as for ``reader``. Topics,
                filter and tags are the group's: its first member sets them, one that asks for
                others is refused (``SubscriptionConflict``), and ``groups.subscribe`` changes
                them for all members, also those that run.
            tags: Only records with one of these tags; none: whatever the tag.
            sharing: How it takes part in the group: assignor, fixed name, hooks.

        Raises:
            BadFilter: The filter does not parse; the text shows where.
            ValueError: There is no topic, a name is no text, a session is not between 1 s and
                1 h, or a staleness is negative or more than 24 h.
            TypeError: A name is no str.
        """
        self._check()
        asker = self._asker.with_staleness(staleness_seconds(staleness))
        sharing = sharing or Sharing()
        subscription = Subscription(
            group,
            (topics,) if isinstance(topics, str) else tuple(topics),
            sharing.member or secrets.token_hex(8),
            self._client_id,
            start,
            on_lost,
            auto_commit,
            seconds(commit_interval),
            seconds(session),
            record_filter(tags, filter),
            sharing.assignor,
            is_static=bool(sharing.member),
        )
        parts = (asker, self._catalog, subscription, sharing)
        return self._own(Consumer(*parts, buffer_bytes=buffer_bytes))

    def queue_consumer(
        self,
        group: str,
        topics: str | Sequence[str] = (),
        *,
        limit: Duration | None = 600.0,
        on_event: Callable[[HandlerEvent], None] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> QueueConsumer:
        """Return a consumer of a queue-style group: each message is leased and settled by itself.

        Args:
            group: The group; entering a consumer makes it, or agrees with it.
            topics: What it is to read; none: what it does.
            limit: Seconds after which a handler is reported and its lease not kept; None: never.
            on_event: Told of handlers that fail or are overdue; None: they are logged.
            options: What the consumer expects of the group: ``ConsumerOptions``.
        """
        self._check()
        opening = opening_of(group, topics, options)
        return self._own(QueueConsumer(self._asker, opening, limit=limit, on_event=on_event))

    def reader(  # noqa: PLR0913  (one option for each thing that a reader may want otherwise)
        self,
        topic: str,
        *,
        queue: int | None = None,
        start: Start = "earliest",
        follow: bool = True,
        on_lost: OnLost = "error",
        buffer_bytes: int = 16 << 20,
        staleness: Duration | None = None,
        filter: str = "",  # noqa: A002  (what everybody calls it)
        tags: Sequence[str] = (),
    ) -> Reader:
        """Return a reader of a topic, in no group: it sees everything and commits nothing.

        Args:
            topic: The topic.
            queue: The place of one queue; None: all of them.
            start: "earliest", "latest", an offset, a ``datetime`` with time zone, or a
                ``timedelta`` from now (negative: ago). Times are those of storing.
            follow: Wait for what comes; False: end at the end that there was at the start.
            on_lost: As for ``consumer``.
            buffer_bytes: Read ahead so much, all queues together, about.
            staleness: Read from followers, which may be behind: what was acknowledged so
                long before a read is in it (0: everything). None: read from the leader.
            filter: A condition over headers and the tag, like
                ``amount > 100 AND tag = 'paid'``; the node leaves out what does not meet it.
            tags: Only records with one of these tags; none: whatever the tag.

        Raises:
            BadFilter: The filter does not parse; the text shows where.
            ValueError: A datetime without a time zone, an offset below 0, or a staleness that
                is negative or more than 24 h.
        """
        self._check()
        return self._own(
            Reader(
                self._asker.with_staleness(staleness_seconds(staleness)),
                self._catalog,
                topic,
                queue=queue,
                start=start,
                follow=follow,
                on_lost=on_lost,
                buffer_bytes=buffer_bytes,
                wanted=record_filter(tags, filter),
            )
        )

    # -- inside

    def _router_of(self, shard: int) -> Router:
        router = self._routers.get(shard)
        if router is None:
            router = Router(self._seeds, shard=shard, cluster=self._cluster)
            self._routers[shard] = router
        return router

    def _default_producer(self) -> Producer:
        self._check()
        if self._producer is None:
            self._producer = self.producer()
        return self._producer

    def _own(self, part: P) -> P:
        self._parts.add(part)
        part.on_closed = self._parts.discard
        return part

    def _check(self) -> None:
        """Refuse a closed client, and another loop, thread or process than the first one."""
        if self._is_closed:
            raise Closed("the client was closed")
        loop = asyncio.get_running_loop() if self._loop is None else asyncio._get_running_loop()
        if self._loop is None:
            self._loop, self._process = loop, os.getpid()
        elif loop is not self._loop or os.getpid() != self._process:
            raise WrongLoop(
                "this client is bound to the event loop that used it first, and this is another "
                "loop, thread or process"
            )
