"""Administration for threads (``raftlog.sync``)."""

from functools import wraps
from typing import Any

from raftlog.client import groups as aio_groups
from raftlog.client import later as aio_later
from raftlog.client import members as aio_members
from raftlog.client import quotas as aio_quotas
from raftlog.client import topics as aio_topics
from raftlog.client import transactions as aio_transactions
from raftlog.client.blocking import Face, blocking, on_loop
from raftlog.client.blocking_walks import GroupSeeks


class Topics(Face[aio_topics.Topics]):
    """The topics of a cluster."""

    create = blocking(aio_topics.Topics.create)
    alter = blocking(aio_topics.Topics.alter)
    delete = blocking(aio_topics.Topics.delete)
    describe = blocking(aio_topics.Topics.describe)
    offsets = blocking(aio_topics.Topics.offsets)
    list = blocking(aio_topics.Topics.list)


class Groups(Face[aio_groups.Groups]):
    """The consumer groups of a cluster."""

    list = blocking(aio_groups.Groups.list)
    describe = blocking(aio_groups.Groups.describe)
    subscribe = blocking(aio_groups.Groups.subscribe)
    seek = blocking(aio_groups.Groups.seek)
    _seeks = on_loop(aio_groups.Groups.seeks)
    remove_member = blocking(aio_groups.Groups.remove_member)
    delete = blocking(aio_groups.Groups.delete)

    @wraps(aio_groups.Groups.seeks)
    def seeks(self, name: str, **options: Any) -> GroupSeeks:
        """Look for the seeks of a group."""
        return GroupSeeks(self._thread, self._seeks(name, **options))


class DelayedMessages(Face[aio_later.DelayedMessages]):
    """The delayed messages of a cluster."""

    cancel = blocking(aio_later.DelayedMessages.cancel)
    list = blocking(aio_later.DelayedMessages.list)


class Quotas(Face[aio_quotas.Quotas]):
    """The quotas of a cluster."""

    set = blocking(aio_quotas.Quotas.set)
    remove = blocking(aio_quotas.Quotas.remove)
    list = blocking(aio_quotas.Quotas.list)


class Members(Face[aio_members.Members]):
    """The nodes of a cluster."""

    list = blocking(aio_members.Members.list)
    add = blocking(aio_members.Members.add)
    promote = blocking(aio_members.Members.promote)
    demote = blocking(aio_members.Members.demote)
    remove = blocking(aio_members.Members.remove)
    prefer = blocking(aio_members.Members.prefer)


class Transactions(Face[aio_transactions.Transactions]):
    """The open half messages of a cluster."""

    list = blocking(aio_transactions.Transactions.list)
    commit = blocking(aio_transactions.Transactions.commit)
    rollback = blocking(aio_transactions.Transactions.rollback)
