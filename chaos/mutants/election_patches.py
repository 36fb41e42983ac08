"""Planted bugs of who stands for election, and when."""

from typing import Final

from chaos.mutants.mutant import Mutant

ELECTION_MUTANTS: Final = (
    Mutant(
        "two who stand at once split votes again and again",
        "raftlog.raft.core",
        (("        return theirs > mine\n", "        return theirs == mine\n"),),
        tests=("tests/raft/test_giving_way.py",),
    ),
    Mutant(
        "who replays leads before who could serve",
        "raftlog.raft.precedence",
        (
            (
                "    behind = BEHIND_ROUNDS if unapplied > BEHIND_ENTRIES else 0\n",
                "    behind = 0\n",
            ),
        ),
        tests=("tests/raft/test_preference.py",),
    ),
    Mutant(
        "who can never win is let go first for ever",
        "raftlog.raft.patience",
        (("        return self.rounds > self._gave_way + 1\n", "        return True\n"),),
        tests=("tests/raft/test_giving_way.py",),
    ),
    Mutant(
        "lost connection taken for a dead leader",
        "raftlog.raft.core",
        (
            (
                "            self._patience.lose_leader()\n",
                "            self._start_election(pre_vote=False, transfer=True)\n",
            ),
        ),
        rulings=(13,),
        needs=("FALSE_HINT",),
    ),
)
