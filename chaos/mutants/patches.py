"""The zoo: each known bug as a patch, and who is expected to see it.

Where a bug is known from another system, its name says so; the numbers are of
``raft_anchors`` 4.9. Most are seen by the simulator. A bug that needs a fault
which the simulator does not make is seen by the tests that are named.
"""

from typing import Final

from chaos.mutants.broker_patches import BROKER_MUTANTS
from chaos.mutants.install_patches import INSTALL_MUTANTS
from chaos.mutants.lease_patches import LEASE_MUTANTS
from chaos.mutants.member_patches import MEMBER_MUTANTS
from chaos.mutants.mutant import Mutant

_CORE: Final = "raftlog.raft.core"
_FOLLOWER: Final = "raftlog.raft.follower"
_LEADER: Final = "raftlog.raft.leader"
_LISTENING: Final = "raftlog.raft.listening"

MUTANTS: Final = (
    Mutant(
        "ack before fsync (NATS 7564, DLedger)",
        _FOLLOWER,
        (("return min(self.matched, self._durability.index)", "return self.matched"),),
    ),
    Mutant(
        "fsync left out of the log",
        "raftlog.storage.performer",
        (
            (
                "        self.sync(file)\n        self.write_mark(claim)\n",
                "        self.write_mark(claim)\n",
            ),
        ),
    ),
    Mutant(
        "fsync error swallowed (fsyncgate)",
        "raftlog.node.persister",
        (("        if error is not None:\n", "        if error is None and error:\n"),),
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
        "hard state in one copy (ruling 1)",
        "raftlog.storage.hard_state",
        (("        for offset in (0, BLOCK_BYTES):\n", "        for offset in (0,):\n"),),
        tests=("tests/storage/test_hard_state.py",),
    ),
    Mutant(
        "hard state in two copies that take turns (ruling 1)",
        "raftlog.storage.hard_state",
        (
            (
                "        for offset in (0, BLOCK_BYTES):\n",
                "        for offset in (sequence % 2 * BLOCK_BYTES,):\n",
            ),
        ),
        tests=("tests/crash/test_damage.py",),
    ),
    Mutant(
        "cut before the claim that it happened is durable (ruling 2)",
        "raftlog.storage.log_store",
        (
            (
                "(partial(self._do.write_mark, claim), self._do.sync_mark)",
                "(partial(self._do.write_mark, claim),)",
            ),
        ),
        tests=("tests/crash/test_crash_states.py",),
    ),
    Mutant(
        "snapshot's name before its bytes",
        "raftlog.storage.snapshot_store",
        (("        self._file.sync()\n", ""),),
        tests=("tests/crash/test_crash_states.py",),
    ),
    Mutant(
        "index range's name before its bytes",
        "raftlog.storage.offset_index",
        (("            file.sync()\n", ""),),
        tests=("tests/crash/test_crash_states.py",),
    ),
    Mutant(
        "end of a segment known from inside it alone",
        "raftlog.storage.recovery",
        (("(self._mark.newest, following)", "(self._mark.newest,)"),),
        tests=("tests/storage/test_damage.py",),
    ),
    Mutant(
        "truncation in one slot of the mark",
        "raftlog.storage.log_store",
        ((", self._do.sync_mark) * SLOTS)\n", ", self._do.sync_mark))\n"),),
        tests=("tests/storage/test_recovery.py",),
    ),
    Mutant(
        "damage below the watermark cut off (NATS 7549)",
        "raftlog.storage.recovery",
        (
            (
                "                if hole.last > mark.index:\n",
                "                if hole.last > 0:\n",
            ),
            ("        if hole.first > mark.index:\n", "        if hole.first > 0:\n"),
        ),
    ),
    Mutant(
        "repair without identity (ruling 20)",
        "raftlog.storage.holes",
        (("    if entries[-1].checksum != hole.checksum:\n", "    if not entries:\n"),),
        tests=("tests/sim/test_findings.py",),
    ),
    Mutant(
        "stored entry known by its own checksum only",
        "raftlog.storage.span",
        (("            if entry.checksum != checksum:\n", "            if checksum < 0:\n"),),
        tests=("tests/storage/test_lost_writes.py",),
    ),
    Mutant(
        "branch that a lost write brought back is trusted (ruling 16)",
        "raftlog.storage.scan",
        (("            0 < number < cut_unit and last > end for", "            number < 0 for"),),
        tests=("tests/storage/test_lost_writes.py",),
    ),
    Mutant(
        "another log than the promised one is opened (ruling 16)",
        "raftlog.storage.recovery",
        (("            if checksum != mark.checksum:\n", "            if checksum < 0:\n"),),
        tests=("tests/storage/test_lost_writes.py",),
    ),
    Mutant(
        "unit head believed wherever it lies",
        "raftlog.storage.unit",
        (
            (
                "    return crc32c(head, crc32c(_POSITION.pack(position), salt))\n",
                "    return crc32c(head)\n",
            ),
        ),
        tests=("tests/storage/test_damage.py",),
    ),
    Mutant(
        "frame behind damage taken for the log's without a proof",
        "raftlog.storage.scan",
        (("                if leads_on:\n", "                if looked_at:\n"),),
        tests=("tests/storage/test_damage.py",),
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
        "a large hole is filled by whatever links to what is before it",
        "raftlog.storage.survey",
        (
            (" and self._end.checksum == self.hole.checksum\n", "\n"),
            (
                "            return False\n        self.pieces",
                "            pass\n        self.pieces",
            ),
        ),
        tests=("tests/storage/test_survey.py",),
    ),
    Mutant(
        "terms that damage hides are guessed",
        "raftlog.node.upkeep",
        (("self.waits_for_terms = store.terms_in_doubt", "self.waits_for_terms = False"),),
        tests=("tests/node/test_large_repair.py",),
    ),
    Mutant(
        "what found no room taken for done",
        "raftlog.storage.plan",
        (
            (
                "            steps[self._performed]()\n            self._performed += 1\n",
                "            self._performed += 1\n            steps[self._performed - 1]()\n",
            ),
        ),
    ),
    Mutant(
        "sync without space tried again (fsyncgate)",
        "raftlog.storage.performer",
        (
            (
                "            file.sync()\n            self.fdatasyncs += 1",
                "            with may_lack_room(): file.sync()\n            self.fdatasyncs += 1",
            ),
        ),
        tests=("tests/storage/test_room.py",),
    ),
    Mutant(
        "read answered before its index is applied",
        "raftlog.node.reads",
        (("        if applied >= index:\n", "        if applied >= 0 * index:\n"),),
    ),
    *LEASE_MUTANTS,
    *INSTALL_MUTANTS,
    *MEMBER_MUTANTS,
    *BROKER_MUTANTS,
)


def find(name: str) -> Mutant:
    """Return the mutant whose name begins with ``name``."""
    found = [mutant for mutant in MUTANTS if mutant.name.startswith(name)]
    assert len(found) == 1, f"{len(found)} mutants are called {name!r}"
    return found[0]
