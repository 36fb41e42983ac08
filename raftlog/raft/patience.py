"""How long a replica waits for a leader, counted in ticks.

Three lengths (decision 0003). A follower's election timeout is long, because a
leader that is merely slow must not be disturbed. The first one after a start
and the patience of one election round are short: nobody leads meanwhile as far
as this replica knows, and a pre-vote disturbs nobody who has a leader.

Two who stand at once take each other's votes, and would again and again on a machine
where a message takes as long as their patience differs. So who lets another one go first
waits until that one's next round has begun (decision 0022). Never twice in a row: the other
one may be unable to win.
"""

from random import Random
from typing import Final

from raftlog.raft.config import CoreConfig

NEVER: Final = -2
"""No round: nor is the one after it the first."""


class Patience:
    """One replica's timer. ``elapsed`` counts since the leader was heard, or a round began."""

    def __init__(self, config: CoreConfig, random: Random, *, alone: bool) -> None:
        self.elapsed = 0
        self.rounds = 0
        """Rounds of elections begun since a leader was heard."""
        self.leader_lost = False
        """The connection to the leader's process is gone: a hint, no proof (ruling 13)."""
        self._gave_way = NEVER
        """The round in which another one was let go first."""
        self._config = config
        self._random = random
        self._timeout = 1 if alone else 2 * config.heartbeat_ticks + self._soon()

    @property
    def left(self) -> int:
        """Ticks until it runs out."""
        return max(1, self._timeout - self.elapsed)

    @property
    def trusts_leader(self) -> bool:
        """Whether a known leader was heard lately and nothing speaks against it."""
        return not self.leader_lost and self.elapsed < self._config.election_ticks_min

    def passes(self, count: int) -> bool:
        """Let time pass; return whether patience has run out."""
        self.elapsed += count
        return self.elapsed >= self._timeout

    def follow(self) -> None:
        """Begin to wait for a leader, known or not."""
        self.elapsed = 0
        self.leader_lost = False
        self._timeout = self._random.randint(
            self._config.election_ticks_min, self._config.election_ticks_max
        )

    def heard(self) -> None:
        """The leader spoke: what was waited for because of its silence is waited for no more."""
        if self.leader_lost or self._gave_way != NEVER:
            self.follow()
            self._gave_way = NEVER
        self.elapsed = 0
        self.rounds = 0

    def begin_round(self) -> None:
        """Begin one round of an election."""
        self.elapsed = 0
        self.rounds += 1
        self.retry_soon()

    def retry_soon(self) -> None:
        """Wait for a round's time only, a quarter of an election timeout."""
        self._timeout = self._random.randint(*self._round)

    @property
    def may_give_way(self) -> bool:
        """Whether another one may be let go first: not in the round after it was."""
        return self.rounds > self._gave_way + 1

    def give_way(self) -> None:
        """Wait until another one, who goes first, has had this round and begun its next."""
        shortest, longest = self._round
        self._gave_way = self.rounds
        self.elapsed = 0
        self._timeout = self._random.randint(longest + shortest // 2, 2 * longest)

    def let_stand(self) -> None:
        """Let another one, who may win, have a round's time before this one stands."""
        self._gave_way = self.rounds
        self._timeout = max(self._timeout, self.elapsed + self._random.randint(*self._round))

    @property
    def _round(self) -> tuple[int, int]:
        shortest = max(2, self._config.election_ticks_min // 4)
        return shortest, max(shortest + 1, self._config.election_ticks_max // 4)

    def lose_leader(self) -> None:
        """Take the hint that the leader's process may be gone, once."""
        if not self.leader_lost:
            self.leader_lost = True
            self._timeout = self.elapsed + self._soon()

    def _soon(self) -> int:
        return self._random.randint(1, self._config.hint_ticks_max)
