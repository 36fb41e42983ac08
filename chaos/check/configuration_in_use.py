"""A replica goes by the newest configuration in its log, committed or not (Raft §4.1).

Known are all configurations that were ever written anywhere, and which of them a log holds: so
who votes is never asked of the replica that counts the votes. Only with a snapshot comes one
from elsewhere, the newest that its sender knew to be committed, until another one follows.

Who asked for a change, and is told that it is done, or was so already, is told of members whose
configuration is committed, and was not replaced yet when it was asked for.
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.log_model import LogModel, Mark
from chaos.check.violation import Violation
from raftlog.base.entry import Entry, EntryKind
from raftlog.base.ids import Index, NodeId
from raftlog.base.membership import Membership, decode_membership

NAME: Final = "configuration_in_use"
Halves = Sequence[Sequence[NodeId]]
"""The voters whose majorities decide; two sets of them while a change is under way."""


class Configurations:
    """All that were written, by anybody."""

    def __init__(self) -> None:
        self._written: dict[Index, dict[Mark, Halves]] = {}
        self._members: Final[dict[tuple[Index, Mark], Membership]] = {}

    def written(self, entry: Entry) -> None:
        """Take in an entry, if it is a configuration."""
        if entry.kind is EntryKind.CONFIGURATION:
            marks = self._written.setdefault(entry.index, {})
            mark = Mark(entry.term, entry.checksum)
            if mark not in marks:
                members = self._members[entry.index, mark] = decode_membership(entry.body)
                marks[mark] = halves_of(members)
                self._written = dict(sorted(self._written.items(), reverse=True))

    def newest(self, log: LogModel, base: Index) -> Halves | None:
        """Return the last one that a log holds behind ``base``; None: it holds none."""
        for index, marks in self._written.items():
            if index <= base:
                break
            mark = log.at(index)
            if mark is not None and mark in marks:
                return marks[mark]
        return None

    def told(self, members: Membership, committed: LogModel, floor: Index) -> None:
        """Take in that somebody was told so, who asked when ``floor`` was committed.

        Raises:
            Violation: They are committed nowhere, or were replaced already.
        """
        for index, marks in self._written.items():
            mark = committed.at(index)
            if mark is None or mark not in marks:
                continue
            if self._members[index, mark] == members:
                return
            if index <= floor:
                break
        raise Violation(NAME, f"{members} were told; none such since entry {floor} is committed")


def halves_of(members: Membership) -> Halves:
    """Return the voters whose majorities decide, without an empty half."""
    return [
        [replica.node for replica in half] for half in (members.voters, members.outgoing) if half
    ]


def check_in_use(node: NodeId, used: Halves, newest: Halves | None) -> None:
    """Check the one that a replica goes by.

    Raises:
        Violation: It is not the newest in its log.
    """
    if newest is not None and used != newest:
        raise Violation(NAME, f"{node} goes by {used}, and the newest in its log is {newest}")
