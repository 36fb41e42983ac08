"""Membership of a consumer group: join, beat, notice a new generation, leave.

A heartbeat is a long poll: the answer comes at once when there is another
generation, else after a third of the session. The member's id is drawn once, so
joining again is harmless.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.message import Message

from raftlog.base.errors import (
    Fenced,
    GroupNotFound,
    PeerRefused,
    RaftlogError,
    Refused,
    SubscriptionConflict,
    UnknownMember,
)
from raftlog.client.asking import ANSWER_TIMEOUT_S, RETRY_PAUSE_S, Asker, M
from raftlog.client.subscription import Subscription, wanted_of
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups, producers

BEATS_PER_SESSION: Final = 3
BEAT_WAIT_S_MAX: Final = 5.0
NO_GENERATION: Final = 0


class Membership:
    """One member of one group. Bound to its loop.

    Args:
        asker: Asks the leader.
        subscription: The group, this member, and what it reads.
        on_assignment: Called with each new assignment, one at a time.
        on_trouble: Told what went wrong; it is tried again.
        on_well: Told that the leader knows this member, in the generation that it knows.
    """

    def __init__(
        self,
        asker: Asker,
        subscription: Subscription,
        *,
        on_assignment: Callable[[groups.GroupAssignment], Awaitable[None]],
        on_trouble: Callable[[RaftlogError], None],
        on_well: Callable[[], None],
    ) -> None:
        self.generation = 0
        """Of the last assignment; 0 before the first."""
        self.life = 0
        """Of a static member; 0: it is none."""
        self.rejoins = 0
        """How often the group had expired this member."""
        self._is_replaced = False
        self._beat: asyncio.Task[groups.GroupAssignment] | None = None
        self._is_nudged = False
        self._asker = asker
        self._subscription = subscription
        self._asked = (subscription.topics, subscription.wanted)
        """With what it joins: a change of the group's subscription is taken over."""
        self._assignor = subscription.assignor
        self._on_assignment = on_assignment
        self._on_trouble = on_trouble
        self._on_well = on_well

    async def run(self) -> None:
        """Be a member until this is cancelled.

        Raises:
            Fenced: A later process runs as this static member.
            Refused: The group, or a topic, can't be joined (BadName, TopicNotFound, ..).
            PeerRefused: No node wants this client.
        """
        if self._subscription.is_static:
            self.life = await self._draw_life()
        assignment: groups.GroupAssignment | None = await self._join()
        while True:
            try:
                if assignment is None:
                    assignment = await self._until_another(NO_GENERATION)
                self._take_over(assignment.subscription)
                await self._on_assignment(assignment)
                self.generation = assignment.generation
                assignment = await self._until_another(assignment.generation)
            except (UnknownMember, GroupNotFound) as error:
                self._on_trouble(error)
                self.rejoins += 1
                assignment = await self._rejoin()
            except Fenced as error:  # a newer generation has begun: hear of it
                if self._is_replaced:
                    raise
                self._on_trouble(error)
                assignment = None
                await asyncio.sleep(RETRY_PAUSE_S)
            except (Refused, PeerRefused):
                raise
            except RaftlogError as error:
                self._on_trouble(error)
                await asyncio.sleep(RETRY_PAUSE_S)

    def _take_over(self, subscription: groups.Subscription) -> None:
        if subscription.version:
            self._asked = (tuple(subscription.topics), wanted_of(subscription))
            self._assignor = subscription.assignor

    async def leave(self, timeout_s: float) -> None:
        """Leave, so that the others need not wait for the session to end.

        A static member stays: whoever is started under its name goes on with its queues.
        """
        if self._subscription.is_static:
            return
        await self._asker.ask(
            Method.GROUP_LEAVE,
            groups.LeaveGroup(group=self._subscription.group, member=self._subscription.member),
            groups.GroupLeft,
            timeout_s=timeout_s,
        )

    async def _rejoin(self) -> groups.GroupAssignment:
        """Join after an expiry; what was changed by hand meanwhile is taken over, too.

        Raises:
            SubscriptionConflict: The others read something else because they want to.
        """
        while True:
            try:
                return await self._join()
            except SubscriptionConflict:
                subscription = await self._described()
                if subscription is None:
                    continue
                if self._is_asked(subscription):  # it has changed since the refusal
                    await asyncio.sleep(RETRY_PAUSE_S)
                elif subscription.by_hand:
                    self._take_over(subscription)
                else:
                    raise

    def _is_asked(self, subscription: groups.Subscription) -> bool:
        """Whether it is what this member joins with. Its version says nothing about that.

        A group that was deleted and begun anew counts its versions from 1 on again.
        """
        read = (tuple(subscription.topics), wanted_of(subscription))
        return read == self._asked and self._assignor in ("", subscription.assignor)

    async def _described(self) -> groups.Subscription | None:
        """Return what the group reads now; None if there is no such group any more."""
        request = groups.DescribeGroup(group=self._subscription.group)
        try:
            answer = await self._answered(Method.GROUP_DESCRIBE, request, groups.GroupDescription)
        except GroupNotFound:
            return None
        return answer.subscription

    async def _join(self) -> groups.GroupAssignment:
        topics, wanted = self._asked
        request = groups.JoinGroup(
            group=self._subscription.group,
            member=self._subscription.member,
            topics=topics,
            session_ms=int(self._subscription.session_s * 1000),
            client=self._subscription.client_id,
            filter=client.RecordFilter(tags=wanted.tags, condition=wanted.condition),
            assignor=self._assignor,
            life=self.life,
        )
        try:
            return await self._answered(Method.GROUP_JOIN, request, groups.GroupAssignment)
        except Fenced:
            self._is_replaced = True
            raise

    async def _draw_life(self) -> int:
        """Draw a number that is higher than those of all processes that have begun before."""
        answer = await self._answered(
            *(Method.PRODUCER_INIT, producers.InitProducer(), producers.ProducerBegun),
            repeats=True,
        )
        return answer.producer

    async def _answered(
        self, method: Method, request: Message, answer: type[M], *, repeats: bool = False
    ) -> M:
        """Ask until there is an answer; raises what another try would meet, too."""
        while True:
            try:
                found, _ = await self._asker.ask(method, request, answer, repeats=repeats)
            except (Refused, PeerRefused):
                raise
            except RaftlogError as error:
                self._on_trouble(error)
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return found

    def nudge(self) -> None:
        """Something says that there is another generation: ask at once."""
        if self._beat is not None and not self._beat.done():
            self._is_nudged = True
            self._beat.cancel()

    async def _until_another(self, generation: int) -> groups.GroupAssignment:
        """Beat until there is another generation."""
        loop = asyncio.get_running_loop()
        while True:
            beat = self._beat = loop.create_task(self._ask(generation))
            try:
                answer = await beat
            except asyncio.CancelledError:
                own = asyncio.current_task()
                if not self._is_nudged or (own is not None and own.cancelling()):
                    raise
                self._is_nudged = False
            except Fenced:
                self._is_replaced = True
                raise
            except (Refused, PeerRefused):
                raise
            except RaftlogError as error:
                self._on_trouble(error)
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                if answer.generation != generation:
                    return answer
                self._on_well()

    async def _ask(self, generation: int) -> groups.GroupAssignment:
        wait_s = min(self._subscription.session_s / BEATS_PER_SESSION, BEAT_WAIT_S_MAX)
        answer, _ = await self._asker.ask(
            Method.GROUP_HEARTBEAT,
            groups.HeartbeatGroup(
                group=self._subscription.group,
                member=self._subscription.member,
                generation=generation,
                wait_ms=int(wait_s * 1000),
                life=self.life,
            ),
            groups.GroupAssignment,
            timeout_s=max(wait_s + ANSWER_TIMEOUT_S, self._asker.timeout_s),
            wait_s=wait_s,
        )
        return answer
