"""Batches of which nobody can say whether they are stored: a human looks, and says it of each.

A topic stands still for all of them at once, so that what is said of one is not taken for
what is true of another::

    queue 0    3 records, forgotten    --> in doubt    settle_by_hand(topic, 0, stored=True)
    queue 1    2 records, not stored   --> they wait again, for the cluster could tell
    queue 2    1 record, forgotten     --> in doubt    settle_by_hand(topic, 2, stored=False)
"""

from collections.abc import Mapping
from typing import Final

from raftlog.base.errors import OutcomeUnknown
from raftlog.client.ages import Doubt
from raftlog.spool.contents import Attempt

_TEXTS: Final = {
    Doubt.FORGOTTEN: (
        "sent so long ago that the queue may have forgotten whether it has them",
        "look, then call settle_by_hand for each queue",
    ),
    Doubt.UNDATED: (
        "sent, and this machine's clock has gone back since: they may be forgotten there",
        "set the clock; or look, then call settle_by_hand for each queue",
    ),
}
"""What has happened, and what is to be done."""


class Doubts:
    """The batches in doubt, by topic, by the place of their queue: it has one at a time."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, tuple[Attempt, Doubt]]] = {}

    def note(self, attempt: Attempt, doubt: Doubt) -> None:
        """Put a batch in doubt."""
        self._found.setdefault(attempt.topic, {})[attempt.place] = (attempt, doubt)

    def of(self, topic: str) -> Mapping[int, Attempt]:
        """Return a topic's, by the place of their queue."""
        return {place: attempt for place, (attempt, _) in self._found.get(topic, {}).items()}

    def end(self, attempt: Attempt) -> None:
        """A batch is settled; harmless for one that was not in doubt."""
        found = self._found.get(attempt.topic, {})
        found.pop(attempt.place, None)
        if not found:
            self.forget(attempt.topic)

    def forget(self, topic: str) -> None:
        """The cluster is asked again for a topic's."""
        self._found.pop(topic, None)

    def has_undated(self, topic: str) -> bool:
        """Whether a clock that is set right may end a doubt."""
        return any(doubt is Doubt.UNDATED for _, doubt in self._found.get(topic, {}).values())

    def error(self, topic: str) -> OutcomeUnknown:
        """Return what stands still for a topic's, all of them named."""
        texts = []
        for doubt, (what, hint) in _TEXTS.items():
            found = [each for each, why in self._found[topic].values() if why is doubt]
            if found:
                which = ", ".join(
                    f"{len(each.numbers)} records for queue {each.place}"
                    for each in sorted(found, key=lambda each: each.place)
                )
                texts.append(f"of {topic!r}, {which} were {what}: {hint}")
        return OutcomeUnknown("; ".join(texts))
