"""What a consumer asked for."""

import msgspec

from raftlog.base.limits import GROUP_TOPICS_MAX, SESSION_MS_MAX, SESSION_MS_MIN
from raftlog.wire.filters import EVERYTHING, RecordFilter
from raftlog.wire.schema import groups


class Subscription(msgspec.Struct, frozen=True):
    """One member of one group, and how it reads. Valid by construction (``ValueError``).

    Attributes:
        group: The group's name.
        topics: What is read.
        member: The member's id, drawn by the client.
        client_id: A name for people.
        start: "earliest" or "latest", where nothing was ever committed.
        on_lost: "error" or "skip", where records are gone before they were read.
        auto_commit: Whether what is finished is committed without being told to.
        commit_interval_s: Seconds between such commits.
        session_s: Silent for so many seconds, the group expires the member.
        wanted: Which records of the topics.
        assignor: How the group shares its queues out; "": as it does.
        is_static: Whether the member's id is its name, whichever process runs as it.
    """

    group: str
    topics: tuple[str, ...]
    member: str
    client_id: str = ""
    start: str = "earliest"
    on_lost: str = "error"
    auto_commit: bool = True
    commit_interval_s: float = 1.0
    session_s: float = 10.0
    wanted: RecordFilter = EVERYTHING
    assignor: str = ""
    is_static: bool = False

    def __post_init__(self) -> None:
        """Check it."""
        for what, name in (("group", self.group), *(("topic", name) for name in self.topics)):
            if type(name) is not str:
                raise TypeError(f"a {what}'s name is a str, not {type(name).__name__}")
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise ValueError(f"a {what}'s name that UTF-8 cannot carry: {name!r}")
        if not 1 <= len(self.topics) <= GROUP_TOPICS_MAX:
            count = len(self.topics)
            raise ValueError(f"a consumer has 1 to {GROUP_TOPICS_MAX} topics, not {count}")
        if self.start not in ("earliest", "latest"):
            raise ValueError(f"start is {self.start!r}; there are 'earliest' and 'latest'")
        if self.on_lost not in ("error", "skip"):
            raise ValueError(f"on_lost is {self.on_lost!r}; there are 'error' and 'skip'")
        if not SESSION_MS_MIN <= self.session_s * 1000 <= SESSION_MS_MAX:
            raise ValueError(f"a session of {self.session_s:g} s; it is 1 s to 1 h")
        if self.commit_interval_s <= 0:
            raise ValueError(f"a commit interval of {self.commit_interval_s:g} s")


def wanted_of(subscription: groups.Subscription) -> RecordFilter:
    """Return the filter of a group, as a node tells it."""
    found = subscription.filter
    return RecordFilter(tuple(found.tags), found.condition)
