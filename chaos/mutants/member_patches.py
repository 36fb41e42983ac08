"""Bugs of the members' changes, as patches of the source.

Not here: a joint configuration that is left before it is committed. Each change moves
one voter, so majorities before and after it meet without a joint one, and nothing
could catch it.
"""

from typing import Final

from chaos.mutants.mutant import Mutant

_CORE: Final = "raftlog.raft.core"
_MEMBERS: Final = "raftlog.raft.members"
_QUORUM: Final = "raftlog.raft.quorum"
_CHANGES: Final = "raftlog.raft.changes"
_REPLACEMENT: Final = "tests/raft/test_replacement.py"

MEMBER_MUTANTS: Final = (
    Mutant(
        "joint: a majority of the new half commits (openraft 6c0ccaf3)",
        _QUORUM,
        (("index = min(index, self._outgoing.committed(stored))\n", "pass\n"),),
        known=(11,),
    ),
    Mutant(
        "joint: a majority of the new half elects",
        _QUORUM,
        (("        if self._outgoing is None:\n", "        if self._outgoing is not self:\n"),),
        tests=("tests/raft/test_members.py",),
    ),
    Mutant(
        "who is being removed does not stand for election",
        _CORE,
        (("if not self._members.may_stand or", "if not self._members.is_voter or"),),
        tests=("tests/raft/test_members.py",),
    ),
    Mutant(
        "learner counts (openraft d882e743)",
        _QUORUM,
        (
            (
                "            Majority(replica.node for replica in membership.voters),\n",
                "            Majority(r.node for r in membership.voters + membership.learners),\n",
            ),
        ),
        tests=("tests/raft/test_members.py",),
        known=(12,),
    ),
    Mutant(
        "change of the members before an own-term commit (Ongaro 2015)",
        _MEMBERS,
        (("        if commit < leadership.first_index:\n", "        if commit < Index(0):\n"),),
        tests=("tests/raft/test_members.py",),
    ),
    Mutant(
        "two changes of the members at a time",
        _MEMBERS,
        (("        if self.index > commit or self.now.is_joint:\n", "        if False:\n"),),
        tests=("tests/raft/test_members.py",),
    ),
    Mutant(
        "a truncated change stays in force",
        "raftlog.raft.configurations",
        (("        while self._known[-1].index > to:\n", "        while False:\n"),),
        known=(26,),
    ),
    Mutant(
        "a living replica is replaced by another directory of its name",
        _MEMBERS,
        (
            (
                "            and leadership.is_alive(change.node)\n",
                "            and change.node == ''\n",
            ),
        ),
        tests=(_REPLACEMENT,),
    ),
    Mutant(
        "a leader that is new takes everybody for silent",
        "raftlog.raft.progress",
        (
            (
                '        self.silent_ticks = 0\n        """For',
                '        self.silent_ticks = 1 << 30\n        """For',
            ),
        ),
        tests=(_REPLACEMENT,),
    ),
    Mutant(
        "who was demoted becomes a voter again by its own wish",
        _CHANGES,
        (("    if node in membership.held:\n", "    if node == '':\n"),),
        tests=(_REPLACEMENT,),
    ),
    Mutant(
        "a new directory frees a demoted node",
        _CHANGES,
        (
            (
                "                return None\n            return _moved(membership, change",
                (
                    "                return None\n"
                    "            return _moved(_let_go(membership, change.node), change"
                ),
            ),
        ),
        tests=(_REPLACEMENT,),
    ),
    Mutant(
        "who should rather not lead never stands for election",
        _CORE,
        (("return self._patience.rounds <= rounds\n", "return rounds > 0\n"),),
        tests=("tests/raft/test_aside.py",),
    ),
    Mutant(
        "a drained leader hands over to whoever is behind",
        "raftlog.node.yielding",
        (("            and progress.match >= before\n", "            and before >= 0\n"),),
        tests=("tests/node/test_yielding.py",),
    ),
    Mutant(
        "a leader keeps leadership from who is preferred",
        "raftlog.node.yielding",
        (
            (
                "if not core.is_aside and not membership.preferred:\n",
                "if not core.is_aside:\n",
            ),
        ),
    ),
    Mutant(
        "who is preferred gets leadership back while its disk hangs",
        "raftlog.node.yielding",
        (
            (
                "if progress.answers and now_ns - since_ns < DISK_STALL_NS:",
                "if progress.answers:",
            ),
        ),
        tests=("tests/node/test_yielding.py", "tests/sim/test_wishes.py"),
    ),
    Mutant(
        "who is preferred leads although it is drained",
        "raftlog.node.yielding",
        (("            and not progress.is_aside\n", ""),),
        tests=("tests/node/test_yielding.py",),
    ),
    Mutant(
        "promoted without having caught up",
        _MEMBERS,
        (
            (
                "            and not leadership.has_caught_up(change.node)\n",
                "            and change.node == ''\n",
            ),
        ),
        tests=("tests/raft/test_members.py",),
    ),
    Mutant(
        "a survivor's mark without the vote of its term",
        "raftlog.server.unsafe_recovery",
        (
            (
                "write_offline(store, [save, WriteEntries(WriteNumber(2), None, (entry,))])",
                "write_offline(store, [WriteEntries(WriteNumber(2), None, (entry,))])",
            ),
        ),
    ),
    Mutant(
        "survivors of one lost majority draw the same term",
        "raftlog.raft.lost_majority",
        (
            (
                "    return Term(highest + 1 + (known.index(me) - highest - 1) % len(known))",
                "    return Term(highest + 1 + 0 * len(known))",
            ),
        ),
        tests=("tests/raft/test_lost_majority.py",),
    ),
    Mutant(
        "who was given up is listened to again",
        "raftlog.transport.gate",
        (
            (
                "        if any(members.gave_up(sender) for members in self._shards):",
                "        if 0:",
            ),
        ),
        tests=("tests/transport/test_gate.py",),
    ),
    Mutant(
        "a directory older than its promises is let in",
        "raftlog.transport.gate",
        (
            (
                "                if incarnation != message.incarnation and (",
                "                if 0 and (",
            ),
        ),
        needs=("OLD_BACKUP",),
    ),
    Mutant(
        "what was acknowledged since a hello is not remembered",
        "raftlog.transport.gate",
        (("row is not None and unit > row[1]:\n", "row is not None and unit < 0:\n"),),
        needs=("LOST_WRITE",),
    ),
    Mutant(
        "who was no member yet when it said hello is never remembered",
        "raftlog.transport.gate",
        (("        if sender not in self._promised:\n", "        if 0:\n"),),
        tests=("tests/transport/test_gate.py",),
    ),
    Mutant(
        "only the directory that the log names is answered",
        "raftlog.transport.mesh",
        (("    directories.update(proven)\n", ""),),
        tests=("tests/transport/test_mesh.py",),
    ),
    Mutant(
        "what another boot has lost is not noticed (NATS 7567)",
        "raftlog.storage.cached_writes",
        (
            (
                "        self.lost: Final = not known\n",
                "        self.lost: Final = not known and 0\n",
            ),
        ),
    ),
    Mutant(
        "os-cache is not noted before it is served",
        "raftlog.storage.cached_writes",
        (
            (
                "        replace_file(self._files, self._directory, OS_CACHE, [data])\n",
                "        del data\n",
            ),
        ),
        tests=("tests/storage/test_cached_writes.py",),
    ),
)
