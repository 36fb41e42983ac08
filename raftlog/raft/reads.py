"""Linearizable reads without a log write (ReadIndex, Raft §6.4).

A read may be served from the state at the leader's commit index, once a
majority has confirmed that the leader still led *after* the read arrived. The
confirmation is a heartbeat round: one round confirms every read that came
before it, so reads cost a message per batch, not per read::

      read a   read b    round 7 sent    read c     majority answered 7
      ---+--------+------------+------------+---------------+--> a, b are ready
                                            c waits for round 8
"""

from collections import deque
from typing import Final

import msgspec

from raftlog.base.ids import Index, NodeId
from raftlog.base.limits import PENDING_READS_MAX

HEARTBEATS_PATIENT: Final = 4
"""A heartbeat round that begins when the question arrives answers it: so many are late."""


class WaitingRead(msgspec.Struct, frozen=True, gc=False):
    """A read and who waits for it; None is this node's own shell."""

    token: int
    requester: NodeId | None


class PendingReads:
    """Reads of one leader, by the round that will confirm them."""

    def __init__(self) -> None:
        self.new: list[WaitingRead] = []
        """Reads that no round covers yet."""
        self._rounds: deque[tuple[int, Index, list[WaitingRead]]] = deque()

    def __len__(self) -> int:
        """Return the number of reads that wait."""
        return len(self.new) + sum(len(reads) for _, _, reads in self._rounds)

    @property
    def confirming(self) -> bool:
        """Whether a round with reads is unanswered."""
        return bool(self._rounds)

    def begin(self, round_number: int, commit: Index) -> None:
        """A heartbeat round starts now: it will confirm every new read."""
        if self.new:
            self._rounds.append((round_number, commit, self.new))
            self.new = []

    def confirmed(self, round_number: int) -> list[tuple[WaitingRead, Index]]:
        """Return the reads that a majority's answer to ``round_number`` confirms."""
        ready: list[tuple[WaitingRead, Index]] = []
        while self._rounds and self._rounds[0][0] <= round_number:
            _, index, reads = self._rounds.popleft()
            ready.extend((read, index) for read in reads)
        return ready

    def abandon(self) -> list[WaitingRead]:
        """Return and forget every read: leadership is over."""
        reads = [read for _, _, batch in self._rounds for read in batch] + self.new
        self._rounds.clear()
        self.new = []
        return reads


class ForwardedReads:
    """Reads of a follower that its leader was asked about.

    Requests and answers may be lost (a connection that is being made takes nothing), so
    the leader is asked again after some heartbeats, and the shell gives a read up after a
    while; a change of role, term or leader gives all of them up.
    """

    def __init__(self) -> None:
        self._tokens: dict[int, int] = {}
        """Reads, and how many heartbeats of the leader came since it was asked."""

    def add(self, token: int) -> bool:
        """Remember that the leader was asked; False if too many wait already."""
        if len(self._tokens) >= PENDING_READS_MAX:
            return False
        self._tokens[token] = 0
        return True

    def take(self, token: int) -> bool:
        """Forget a read; return whether it was waiting."""
        if token not in self._tokens:
            return False
        del self._tokens[token]
        return True

    def overdue(self) -> list[int]:
        """Count a heartbeat; return the reads that the leader is to be asked about again."""
        found: list[int] = []
        for token, heartbeats in self._tokens.items():
            self._tokens[token] = (heartbeats + 1) % HEARTBEATS_PATIENT
            if not self._tokens[token]:
                found.append(token)
        return found

    def abandon(self) -> list[int]:
        """Return and forget all of them, oldest first."""
        tokens = sorted(self._tokens)
        self._tokens.clear()
        return tokens
