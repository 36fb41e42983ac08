"""How long a replica waits for a leader, counted in ticks.

Three lengths (decision 0003). A follower's election timeout is long, because a
leader that is merely slow must not be disturbed. The first one after a start
and the patience of one election round are short: nobody leads meanwhile as far
as this replica knows, and a pre-vote disturbs nobody who has a leader.
"""

from random import Random

from raftlog.raft.config import CoreConfig


class Patience:
    """One replica's timer. ``elapsed`` counts since the leader was heard, or a round began."""

    def __init__(self, config: CoreConfig, random: Random, *, alone: bool) -> None:
        self.elapsed = 0
        self.rounds = 0
        """Rounds of elections begun since a leader was heard."""
        self.leader_lost = False
        """The connection to the leader's process is gone: a hint, no proof (ruling 13)."""
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
        """The leader spoke."""
        if self.leader_lost:
            self.follow()
        self.elapsed = 0
        self.rounds = 0

    def begin_round(self) -> None:
        """Begin one round of an election."""
        self.elapsed = 0
        self.rounds += 1
        self.retry_soon()

    def retry_soon(self) -> None:
        """Wait for a round's time only, a quarter of an election timeout."""
        shortest = max(2, self._config.election_ticks_min // 4)
        longest = max(shortest + 1, self._config.election_ticks_max // 4)
        self._timeout = self._random.randint(shortest, longest)

    def lose_leader(self) -> None:
        """Take the hint that the leader's process may be gone, once."""
        if not self.leader_lost:
            self.leader_lost = True
            self._timeout = self.elapsed + self._soon()

    def _soon(self) -> int:
        return self._random.randint(1, self._config.hint_ticks_max)
