"""Leader leases: linearizable reads that ask nobody (Raft §6.4.1, rulings 13 and 23).

::

    leader   round 7 sent          its answer says "pledged"
    ---------+-----------------------------+----------- reads served at once -----|-->
             |<------------ nine tenths of the pledge, by the leader's clock --->|
    voter         heard and answered
    --------------+------------------------------------------------------------------|-->
                  |<-- the pledge, by the voter's clock: no vote, no candidacy ---->|

Nobody leads a later term without the vote of a majority, and every majority has one of
the voters that pledged. So while the lease lasts nobody else can have committed
anything. It ends before the pledges do as long as no clock is more than five percent
fast or slow (0.95 / 1.05 > 0.9).

What a pledge does not hold back is an election that the leader itself has asked for
(``TimeoutNow``). That message may arrive at any time of the term, so a leader that has
sent one has no lease until the next term.

Pledges are kept in memory. A voter that was started again grants nothing for as long as
it may have pledged; that is why the length of pledges is in the configuration, which is
on its disk, and not in a file that an operator edits.
"""

from collections import deque
from typing import Final

from raftlog.base.ids import Index, ReplicaId
from raftlog.base.limits import LEASE_PERCENT
from raftlog.base.membership import NOBODY, Membership
from raftlog.raft.quorum import EVERYTHING, Quorum

MS_NS: Final = 1_000_000


class Moment:
    """The shell's clock, as it was told with the step under way. Only leases measure by it."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns


class Pledge:
    """A voter's word that it helps nobody to lead, itself included, for a while.

    Args:
        moment: Now.
        lease_ms: What may have been pledged before this start.
    """

    def __init__(self, moment: Moment, lease_ms: int) -> None:
        self._moment: Final = moment
        self._until_ns = moment.ns + lease_ms * MS_NS

    @property
    def holds(self) -> bool:
        """Whether it is still to be kept."""
        return self._moment.ns < self._until_ns

    def give(self, lease_ms: int) -> int:
        """Pledge for so long from now on; return what was pledged, for the answer."""
        self._until_ns = max(self._until_ns, self._moment.ns + lease_ms * MS_NS)
        return lease_ms


class Lease:
    """What a leader may conclude from the pledges of one term."""

    def __init__(self, moment: Moment, me: ReplicaId) -> None:
        self._moment: Final = moment
        self._me: Final = me
        self._lease_ms = 0
        """How long a pledge is, by the configuration in force; 0: there are no leases."""
        self._voters: tuple[ReplicaId, ...] = ()
        self._quorum = Quorum.of(NOBODY)
        self._rounds: deque[tuple[int, int]] = deque()
        """Heartbeat rounds, and when they began."""
        self._until_ns: dict[ReplicaId, int] = {}
        """When each voter may help another leader again, by our clock, at the earliest."""
        self._is_given_up = False

    def obey(self, membership: Membership, quorum: Quorum) -> None:
        """Another configuration is in force; if pledges are longer or shorter, they begin anew."""
        self._voters = (*membership.voters, *membership.outgoing)
        self._quorum = quorum
        if membership.lease_ms != self._lease_ms:
            self._lease_ms = membership.lease_ms
            self._rounds.clear()
            self._until_ns.clear()

    def give_up(self) -> None:
        """An election was asked for, which no pledge holds back."""
        self._is_given_up = True

    def round_begins(self, number: int) -> None:
        """Remember when a heartbeat round was sent: a pledge that answers it is no older."""
        if not self._lease_ms:
            return
        rounds, now_ns = self._rounds, self._moment.ns
        while rounds and now_ns - rounds[0][1] > self._lease_ms * MS_NS:
            rounds.popleft()
        rounds.append((number, now_ns))

    def pledged(self, voter: ReplicaId, number: int, pledged_ms: int) -> None:
        """Take in the answer to a round.

        A pledge counts for no longer than the configuration says: so long its voter waits
        when it is started again.
        """
        for each, sent_ns in reversed(self._rounds):
            if each == number:
                length_ns = min(pledged_ms, self._lease_ms) * MS_NS * LEASE_PERCENT // 100
                until_ns = sent_ns + length_ns
                self._until_ns[voter] = max(self._until_ns.get(voter, 0), until_ns)
                return

    @property
    def holds(self) -> bool:
        """Whether nobody else can have become leader, as far as pledges say."""
        if self._is_given_up or not self._lease_ms:
            return False
        until = {voter.node: Index(self._until_ns.get(voter, 0)) for voter in self._voters}
        until[self._me.node] = EVERYTHING  # it helps nobody else as long as it leads
        return self._moment.ns < self._quorum.committed(until)
