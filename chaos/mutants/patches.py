"""The zoo: each known bug as a patch, and who is expected to see it.

Where a bug is known from another system, its name says so; the numbers are of
``raft_anchors`` 4.9. Most are seen by the simulator. A bug that needs a fault
which the simulator does not make is seen by the tests that are named.
"""

from typing import Final

from chaos.mutants.atomic_patches import ATOMIC_MUTANTS
from chaos.mutants.broker_patches import BROKER_MUTANTS
from chaos.mutants.election_patches import ELECTION_MUTANTS
from chaos.mutants.group_patches import GROUP_MUTANTS
from chaos.mutants.half_patches import HALF_MUTANTS
from chaos.mutants.hidden_patches import HIDDEN_MUTANTS
from chaos.mutants.install_patches import INSTALL_MUTANTS
from chaos.mutants.lease_patches import LEASE_MUTANTS
from chaos.mutants.letter_patches import LETTER_MUTANTS
from chaos.mutants.limit_patches import LIMIT_MUTANTS
from chaos.mutants.member_patches import MEMBER_MUTANTS
from chaos.mutants.mutant import Mutant
from chaos.mutants.queue_patches import QUEUE_MUTANTS
from chaos.mutants.search_patches import SEARCH_MUTANTS
from chaos.mutants.spool_patches import SPOOL_MUTANTS
from chaos.mutants.staged_patches import STAGED_MUTANTS
from chaos.mutants.storage_patches import STORAGE_MUTANTS
from chaos.mutants.told_patches import TOLD_MUTANTS
from chaos.mutants.trace_patches import TRACE_MUTANTS

_CORE: Final = "raftlog.raft.core"
_FOLLOWER: Final = "raftlog.raft.follower"
_LEADER: Final = "raftlog.raft.leader"
_LISTENING: Final = "raftlog.raft.listening"
_STATE: Final = "raftlog.raft.state"

MUTANTS: Final = (
    Mutant(
        "ack before fsync (NATS 7564, DLedger)",
        _FOLLOWER,
        (("return min(self.matched, self._durability.index)", "return self.matched"),),
        known=(6,),
    ),
    Mutant(
        "vote not persisted before the reply (PySyncObj)",
        "raftlog.raft.state",
        (("is_saved = self.durability.covers(self._hard_state_write)", "is_saved = True"),),
        known=(1,),
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
        known=(2,),
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
        "vote kept by node id",
        _CORE,
        (
            (
                "(free or self.vote == sender) and",
                "(free or self.vote and self.vote.node == sender.node) and",
            ),
        ),
        tests=("tests/raft/test_elections.py",),
        rulings=(5,),
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
        known=(25,),
    ),
    Mutant(
        "truncation without a conflict (openraft 9540c904, CCF 5991)",
        _FOLLOWER,
        (("        new = entries[position:]\n", "        new = entries\n"),),
        known=(8,),
    ),
    Mutant(
        "durable matched without the truncations in flight (ABA, etcd)",
        "raftlog.raft.durability",
        (("truncated_to is not None and truncated_to < end", "truncated_to == -1"),),
        known=(15,),
        rulings=(4,),
    ),
    Mutant(
        "entries of old terms committed by counting (Raft 5.4.2)",
        _LEADER,
        ((" or self._log.term_at(agreed) != self.term:", ":"),),
        known=(5,),
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
        known=(3,),
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
        known=(4,),
    ),
    Mutant(
        "quorum one too small (openraft d60f1e85)",
        "raftlog.raft.quorum",
        (("len(self.voters) // 2 + 1\n", "max(1, len(self.voters) // 2)\n"),),
        known=(10,),
    ),
    Mutant(
        "last index acknowledged instead of the matched one (CCF 6016)",
        _FOLLOWER,
        (("return min(self.matched, self._durability.index)", "return self._durability.index"),),
        known=(7,),
    ),
    Mutant(
        "commit beyond what matches (Raft 5.3)",
        _LISTENING,
        (
            (
                (
                    "        self._commit_up_to(min(message.commit, self._following.matched))\n"
                    "        self._out.divergence"
                ),
                (
                    "        self._commit_up_to(min(message.commit, self.log.last_index))\n"
                    "        self._out.divergence"
                ),
            ),
        ),
        elsewhere=((_LEADER, (("min(self.commit, progress.match)", "self.commit"),)),),
        known=(9,),
    ),
    Mutant(
        "commit beyond the last new entry (Raft 5.3)",
        _LISTENING,
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
        tests=("tests/raft/test_backtracking.py",),
        known=(9,),
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
        known=(17,),
    ),
    Mutant(
        "answer to a read of the last process accepted",
        "raftlog.node.replica",
        (("world.random.getrandbits(48)", "world.random.getrandbits(48) * 0"),),
        tests=("tests/node/test_reads.py",),
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
        needs=("BIT_ROT",),
        known=(20,),
        rulings=(20,),
    ),
    Mutant(
        "pre-vote without stickiness (Cloudflare 2020)",
        _CORE,
        (("            not self._is_sticky() and message.term", "            message.term"),),
        known=(16,),
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
        needs=("SLOW_DISK",),
    ),
    Mutant(
        "forgotten match never restated",
        _LISTENING,
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
        "stamps by the leader's own clock",
        "raftlog.node.log_clock",
        (
            (
                "        if self._own in voters or not offsets:\n",
                "        if offsets := []:\n            pass\n        else:\n",
            ),
        ),
        tests=("tests/node/test_log_clock.py",),
        rulings=(8,),
    ),
    Mutant(
        "stamps before older entries are applied",
        "raftlog.node.proposing",
        (("        self._waits_for = first\n", "        self._waits_for = None\n"),),
        tests=("tests/node/test_stamps.py",),
        rulings=(8,),
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
    *LEASE_MUTANTS,
    *QUEUE_MUTANTS,
    *INSTALL_MUTANTS,
    *GROUP_MUTANTS,
    *SEARCH_MUTANTS,
    *TRACE_MUTANTS,
    *HIDDEN_MUTANTS,
    *ATOMIC_MUTANTS,
    *STAGED_MUTANTS,
    *HALF_MUTANTS,
    *LETTER_MUTANTS,
    Mutant(
        "a later term is not persisted",
        _STATE,
        (
            (
                "self.term, self.vote = term, None\n            self._save_hard_state()",
                "self.term = term",
            ),
        ),
        known=(1,),
    ),
    Mutant(
        "pre-vote raises the voter's term",
        _CORE,
        (
            (
                "        if isinstance(message, rpcs.PreVoteRequest | rpcs.PreVoteReply):\n",
                "        if isinstance(message, rpcs.PreVoteReply):\n",
            ),
        ),
        known=(16,),
    ),
    *ELECTION_MUTANTS,
    Mutant(
        "leader that nobody answers stays",
        _LEADER,
        (("            if not self._heard_by_quorum():\n", "            if self.term < 0:\n"),),
        needs=("PARTITION",),
    ),
    Mutant(
        "leader that hands over takes proposals (hashicorp GH-581)",
        _CORE,
        (("        elif leadership.transferee is not None:\n", "        elif self.term < 0:\n"),),
        known=(27,),
        needs=("TRANSFER",),
    ),
    Mutant(
        "answers counted by node id",
        _LEADER,
        (
            (
                "return progress if progress is not None and progress.replica == sender else None",
                "return progress",
            ),
        ),
        known=(22,),
        rulings=(5,),
        tests=("tests/raft/test_assertions.py",),
    ),
    Mutant(
        "requests of strangers dropped",
        _CORE,
        (
            (
                "        if sender == self.replica or not self._pass_term(sender, message):\n",
                (
                    "        if sender not in self.membership.replicas or "
                    "not self._pass_term(sender, message):\n"
                ),
            ),
        ),
        needs=("MEMBERS",),
        rulings=(6,),
    ),
    Mutant(
        "wiped directory of a cluster formatted again (NATS 7038)",
        "raftlog.server.formation",
        (("    if missing:\n", "    if missing == 0:\n"),),
        known=(21,),
        rulings=(5,),
        tests=("tests/server/test_formation.py",),
    ),
    Mutant(
        "majority without order (openraft 1802)",
        "raftlog.raft.quorum",
        (
            (
                "sorted(map(stored.get, self.voters, _NOTHING))",
                "list(map(stored.get, self.voters, _NOTHING))",
            ),
        ),
        known=(13,),
    ),
    Mutant(
        "probe that never moves (openraft 1828)",
        "raftlog.raft.progress",
        (("min(retry_after, Index(rejected - 1))", "max(retry_after, rejected)"),),
        known=(14,),
    ),
    Mutant(
        "leader counts what its disk does not have yet",
        _LEADER,
        (
            (
                "        self._match[self._me] = index\n",
                "        self._match[self._me] = self._log.last_index\n",
            ),
        ),
        rulings=(14,),
    ),
    Mutant(
        "entries leave memory before they are on disk",
        _CORE,
        (
            (
                "        self.log.evict(min(index, self.durable), self.config.tail_bytes_max)\n",
                "        self.log.evict(index, self.config.tail_bytes_max)\n",
            ),
        ),
        rulings=(14,),
    ),
    Mutant(
        "commit hint beyond the own log",
        "raftlog.node.replica",
        (("min(self.core.commit, self.core.durable)", "self.core.commit"),),
        elsewhere=(
            (
                "raftlog.storage.recovery",
                (
                    (
                        "Index(min(max(found.commit_hint, start), end))",
                        "Index(max(found.commit_hint, start))",
                    ),
                    ("Index(min(hint, found.cut_to.index))", "hint"),
                ),
            ),
        ),
        known=(25,),
        rulings=(14,),
    ),
    Mutant(
        "applied as soon as it is appended",
        "raftlog.node.applier",
        (
            (
                "        self._commit = max(self._commit, commit)\n        if writing and",
                "        self._commit = self._log.last_index\n        if writing and",
            ),
        ),
        known=(32,),
    ),
    Mutant(
        "entry that cannot be applied is skipped",
        "raftlog.node.applier",
        (
            (
                "            except Exception:  # noqa: BLE001",
                (
                    "            except Exception:\n                self.applied = entry.index\n"
                    "                continue  # noqa: BLE001"
                ),
            ),
        ),
        rulings=(15,),
        tests=("tests/cluster/test_embedded.py",),
    ),
    Mutant(
        "configuration ignored at a start (openraft 6c0ccaf3)",
        "raftlog.node.recollection",
        (("for row in store.configurations\n", "for row in store.configurations[:0]\n"),),
        needs=("MEMBERS",),
        known=(11,),
    ),
    *STORAGE_MUTANTS,
    *SPOOL_MUTANTS,
    *MEMBER_MUTANTS,
    *BROKER_MUTANTS,
    *LIMIT_MUTANTS,
    *TOLD_MUTANTS,
)


def find(name: str) -> Mutant:
    """Return the mutant whose name begins with ``name``."""
    found = [mutant for mutant in MUTANTS if mutant.name.startswith(name)]
    assert len(found) == 1, f"{len(found)} mutants are called {name!r}"
    return found[0]
