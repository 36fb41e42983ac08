"""What a client administrates: one property for each kind of thing that a cluster has.

And the one question about the cluster itself: ``health``.
"""

from collections.abc import Callable

from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.dead_letters import DeadLetters
from raftlog.client.durations import Duration, seconds
from raftlog.client.groups import Groups
from raftlog.client.health import ClusterHealth, ask_health
from raftlog.client.later import DelayedMessages
from raftlog.client.members import Members
from raftlog.client.messages import Messages
from raftlog.client.queue_groups import QueueGroups
from raftlog.client.quotas import Quotas
from raftlog.client.routing import Router
from raftlog.client.topics import Topics
from raftlog.client.transactions import Transactions


class Administration:
    """The administration of a cluster, as a part of ``Client``."""

    def __init__(self, asker: Asker, catalog: Catalog, router_of: Callable[[int], Router]) -> None:
        self._asked = asker
        self._topics = Topics(asker, catalog)
        self._groups = Groups(asker, catalog)
        self._members = Members(asker, router_of)
        self._delayed = DelayedMessages(asker, catalog)
        self._quotas = Quotas(asker)
        self._queue_groups = QueueGroups(asker)
        self._dead_letters = DeadLetters(asker, catalog, self._queue_groups)
        self._messages = Messages(asker)
        self._transactions = Transactions(asker)

    def _check(self) -> None:
        """Refuse a closed client, and another loop than its own."""
        raise NotImplementedError

    async def health(self, *, timeout: Duration | None = None) -> ClusterHealth:
        """Return whether the cluster can be used: whether a majority follows a leader.

        It is confirmed by a majority during the call. What hinders the cluster is in the
        answer and not raised; one that can't be reached takes all of ``timeout``.

        Args:
            timeout: Seconds to try; the client's without it.

        Raises:
            PeerRefused: A node refused this client: it is of another cluster, or version.
        """
        self._check()
        return await ask_health(self._asked, None if timeout is None else seconds(timeout))

    @property
    def topics(self) -> Topics:
        """Create, alter, delete, list and describe topics."""
        self._check()
        return self._topics

    @property
    def groups(self) -> Groups:
        """List, describe, seek and delete consumer groups."""
        self._check()
        return self._groups

    @property
    def queue_groups(self) -> QueueGroups:
        """Open, describe and list queue-style groups, and decide about what is blocked."""
        self._check()
        return self._queue_groups

    @property
    def dead_letters(self) -> DeadLetters:
        """List dead letters of queue-style groups, and send them again."""
        self._check()
        return self._dead_letters

    @property
    def delayed(self) -> DelayedMessages:
        """List and cancel messages that are not visible yet."""
        self._check()
        return self._delayed

    @property
    def members(self) -> Members:
        """See, add, promote, demote and remove nodes of the cluster."""
        self._check()
        return self._members

    @property
    def quotas(self) -> Quotas:
        """Set, remove and list quotas of clients and topics."""
        self._check()
        return self._quotas

    @property
    def messages(self) -> Messages:
        """Search for single messages, and trace one."""
        self._check()
        return self._messages

    @property
    def transactions(self) -> Transactions:
        """List half messages that nobody decided, and decide them by hand."""
        self._check()
        return self._transactions
