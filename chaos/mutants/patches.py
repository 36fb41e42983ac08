"""The zoo: each known bug as a patch, and who is expected to see it.

Where a bug is known from another system, its name says so; the numbers are of
``raft_anchors`` 4.9. Most are seen by the simulator. A bug that needs a fault
which the simulator does not make is seen by the tests that are named.
"""

from typing import Final

from chaos.mutants.broker_patches import BROKER_MUTANTS
from chaos.mutants.member_patches import MEMBER_MUTANTS
from chaos.mutants.mutant import Mutant
from chaos.mutants.storage_patches import STORAGE_MUTANTS

_CORE: Final = "raftlog.raft.core"
_FOLLOWER: Final = "raftlog.raft.follower"
_LEADER: Final = "raftlog.raft.leader"

MUTANTS: Final = (
    Mutant(
        "ack before fsync (NATS 7564, DLedger)",
        _FOLLOWER,
        (("return min(self.matched, self._durability.index)", "return self.matched"),),
    ),
    Mutant(
        "vote not persisted before the reply (PySyncObj)",
        "raftlog.raft.state",
        (("is_saved = self.durability.covers(self._hard_state_write)", "is_saved = True"),),
    ),
    Mutant(
        "vote request before the own vote is durable (jraft)",
        _CORE,
        (
            (
                "        after = NOW if candidacy.pre_vote else self._hard_state_write\n",
                "        after = NOW\n",
            ),
        ),
    ),
    Mutant(
        "two votes in one term",
        _CORE,
        (
            ("granted = (free or self.vote == sender) and", "granted ="),
            ("        if granted and self.vote is None:\n", "        if granted:\n"),
        ),
    ),
    Mutant(
        "vote kept by node id (ruling 5)",
        _CORE,
        (
            (
                "(free or self.vote == sender) and",
                "(free or self.vote and self.vote.node == sender.node) and",
            ),
        ),
        tests=("tests/raft/test_elections.py",),
    ),
    Mutant(
        "truncation below commit (DLedger, unguarded)",
        _FOLLOWER,
        (
            ("            self._check_committed(message, commit)\n", "            pass\n"),
            ("        if previous < commit:\n", "        if previous < 0:\n"),
            ("truncate_to >= commit", "truncate_to >= 0"),
            ("        new = entries[position:]\n", "        new = entries\n"),
        ),
    ),
    Mutant(
        "truncation without a conflict (openraft 9540c904, CCF 5991)",
        _FOLLOWER,
        (("        new = entries[position:]\n", "        new = entries\n"),),
    ),
    Mutant(
        "durable matched without the truncations in flight (ABA, etcd)",
        "raftlog.raft.durability",
        (("truncated_to is not None and truncated_to < end", "truncated_to == -1"),),
    ),
    Mutant(
        "entries of old terms committed by counting (Raft 5.4.2)",
        _LEADER,
        ((" or self._log.term_at(agreed) != self.term:", ":"),),
    ),
    Mutant(
        "last log term is the current term (DLedger 52)",
        "raftlog.raft.candidate",
        (
            ("VoteRequest(self.term, last.term,", "VoteRequest(self.term, self.term,"),
            (
                "PreVoteRequest(Term(self.term + 1), last.term,",
                "PreVoteRequest(Term(self.term + 1), self.term,",
            ),
        ),
    ),
    Mutant(
        "logs compared by index only (openraft a48a3282)",
        _CORE,
        (
            (
                "(candidate.last_term, candidate.last_index) >= (last.term, last.index)",
                "candidate.last_index >= last.index",
            ),
        ),
    ),
    Mutant(
        "quorum one too small (openraft d60f1e85)",
        "raftlog.raft.quorum",
        (("len(self.voters) // 2 + 1\n", "max(1, len(self.voters) // 2)\n"),),
    ),
    Mutant(
        "last index acknowledged instead of the matched one (CCF 6016)",
        _FOLLOWER,
        (("return min(self.matched, self._durability.index)", "return self._durability.index"),),
    ),
    Mutant(
        "commit beyond what matches (Raft 5.3)",
        _CORE,
        (
            (
                (
                    "    self._acknowledge_again()\n"
                    "        self._commit_up_to(min(message.commit, self._following.matched))\n"
                ),
                (
                    "    self._acknowledge_again()\n"
                    "        self._commit_up_to(min(message.commit, self.log.last_index))\n"
                ),
            ),
        ),
    ),
    Mutant(
        "read before a commit of the own term (etcd)",
        _LEADER,
        (
            ("        if self.commit >= self.first_index:\n", "        if self.commit >= 0:\n"),
            (
                "not self._reads.confirming and self.commit >= self.first_index:",
                "not self._reads.confirming:",
            ),
        ),
    ),
    Mutant(
        "answer to a read of the last process accepted",
        "raftlog.node.replica",
        (("world.random.getrandbits(48)", "world.random.getrandbits(48) * 0"),),
    ),
    Mutant(
        "read served without a round of heartbeats",
        "raftlog.raft.quorum",
        (
            (
                "        index = self._current.committed(stored)\n",
                "        index = max(stored.values())\n",
            ),
        ),
    ),
    Mutant(
        "damaged replica campaigns (PAR)",
        _CORE,
        (("if not self._members.may_stand or self._faulty:", "if not self._members.may_stand:"),),
        tests=("tests/raft/test_faulty.py",),
    ),
    Mutant(
        "pre-vote without stickiness (Cloudflare 2020)",
        _CORE,
        (("            not self._is_sticky() and message.term", "            message.term"),),
        tests=("tests/raft/test_elections.py", "tests/raft/test_check_quorum.py"),
    ),
    Mutant(
        "hung disk raises terms",
        _CORE,
        (
            (
                "        if not self.durability.covers(self._hard_state_write):\n            #",
                "        if self.term < 0:\n            #",
            ),
        ),
        tests=("tests/sim/test_findings.py",),
    ),
    Mutant(
        "forgotten match never restated",
        _CORE,
        (
            (
                "        if message.commit > self._following.matched:\n",
                "        if message.commit < 0:\n",
            ),
        ),
        tests=("tests/sim/test_findings.py",),
    ),
    Mutant(
        "acknowledgement of what was never sent is counted",
        _CORE,
        ((" if matched > self.log.last_index:\n", " if matched < 0:\n"),),
        tests=("tests/raft/test_assertions.py",),
    ),
    Mutant(
        "leader with damage that nobody has never steps down",
        _LEADER,
        (
            (
                "return self._faulty_elapsed < patience + self._config.election_ticks_max",
                "return True",
            ),
        ),
        tests=("tests/sim/test_findings.py",),
    ),
    Mutant(
        "stamps by the leader's own clock (ruling 8)",
        "raftlog.node.log_clock",
        (
            (
                "        if self._own in voters or not offsets:\n",
                "        if offsets := []:\n            pass\n        else:\n",
            ),
        ),
        tests=("tests/node/test_log_clock.py",),
    ),
    Mutant(
        "stamps before older entries are applied (ruling 8)",
        "raftlog.node.proposing",
        (("        self._waits_for = first\n", "        self._waits_for = None\n"),),
        tests=("tests/node/test_stamps.py",),
    ),
    Mutant(
        "repair answered with one entry",
        "raftlog.node.repair",
        (("(*found, *cached[: last - first + 1])", "(*found, cached[0])"),),
        tests=("tests/sim/test_findings.py",),
    ),
    Mutant(
        "a follower never compares chain values",
        _FOLLOWER,
        ((" = message.commit, message.chain\n", " = message.commit, -1\n"),),
        tests=("tests/raft/test_divergence.py", "tests/sim/test_planted.py"),
    ),
    Mutant(
        "terms that damage hides are guessed",
        "raftlog.node.upkeep",
        (("self.waits_for_terms = store.terms_in_doubt", "self.waits_for_terms = False"),),
        tests=("tests/node/test_large_repair.py",),
    ),
    Mutant(
        "read answered before its index is applied",
        "raftlog.node.reads",
        (("        if applied >= index:\n", "        if applied >= 0 * index:\n"),),
    ),
    *STORAGE_MUTANTS,
    *MEMBER_MUTANTS,
    *BROKER_MUTANTS,
)


def find(name: str) -> Mutant:
    """Return the mutant whose name begins with ``name``."""
    found = [mutant for mutant in MUTANTS if mutant.name.startswith(name)]
    assert len(found) == 1, f"{len(found)} mutants are called {name!r}"
    return found[0]
