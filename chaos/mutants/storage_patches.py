"""Bugs of the log and of the files beside it, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

STORAGE_MUTANTS: Final = (
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
)
