"""Bugs of the log and of the files beside it, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

STORAGE_MUTANTS: Final = (
    Mutant(
        "hole with too little room is given up",
        "raftlog.storage.holes",
        (("        found = _with_next(segment, places, wider)\n", "        found = None\n"),),
        rulings=(20,),
        tests=("tests/storage/test_damage.py",),
    ),
    Mutant(
        "cut that only the page cache knows is acted on",
        "raftlog.storage.durable_mark",
        (("            self._file.pwrite([record], slot)\n", "            pass\n"),),
        rulings=(2,),
        tests=("tests/storage/test_recovery.py",),
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
        known=(30,),
    ),
    Mutant(
        "hard state in one copy",
        "raftlog.storage.hard_state",
        (("        for offset in (0, BLOCK_BYTES):\n", "        for offset in (0,):\n"),),
        tests=("tests/storage/test_hard_state.py",),
        rulings=(1,),
    ),
    Mutant(
        "older of two good copies of a vote taken",
        "raftlog.storage.hard_state",
        (("max(copies, key=lambda copy: copy[0])", "copies[0]"),),
        needs=("LOST_WRITE",),
        rulings=(1,),
    ),
    Mutant(
        "hard state in two copies that take turns",
        "raftlog.storage.hard_state",
        (
            (
                "        for offset in (0, BLOCK_BYTES):\n",
                "        for offset in (sequence % 2 * BLOCK_BYTES,):\n",
            ),
        ),
        tests=("tests/crash/test_damage.py",),
        rulings=(1,),
    ),
    Mutant(
        "cut before the claim that it happened is durable",
        "raftlog.storage.log_store",
        (
            (
                "(write, self._do.sync_mark)",
                "(write,)",
            ),
        ),
        tests=("tests/crash/test_crash_states.py",),
        rulings=(2,),
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
        "cut of what nobody was told of counts as a promise",
        "raftlog.storage.log_store",
        (("recovered.cut_to, is_promise=False)", "recovered.cut_to)"),),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(16,),
    ),
    Mutant(
        "good part of a unit that is not whole is kept",
        "raftlog.storage.recovery",
        (
            (
                (
                    "        if last.end.index > whole.index or is_begun:\n"
                    "            self.cut_to = whole\n"
                ),
                (
                    "        if last.holes and last.holes[0].first > mark.index:\n"
                    "            self.cut_to = last.holes[0].before\n"
                ),
            ),
        ),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(2, 16),
    ),
    Mutant(
        "mark repeats only the last truncation",
        "raftlog.storage.durable_mark",
        (("(*kept, cut)[-CUTS_MAX:]", "(cut,)"),),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(16,),
    ),
    Mutant(
        "log that lost a configuration goes by an older one",
        "raftlog.storage.configurations",
        (("            if row.written and row not in self.rows:\n", "            if False:\n"),),
        tests=("tests/storage/test_configurations.py",),
        rulings=(16,),
    ),
    Mutant(
        "what was written over a branch is forgotten with it",
        "raftlog.storage.scan",
        (("            kept = max(before, cut.index)\n", "            kept = cut.index\n"),),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(2,),
    ),
    Mutant(
        "members that were never written stay named",
        "raftlog.storage.configurations",
        (("        if self.rows != rows:\n", "        if False:\n"),),
        tests=("tests/storage/test_configurations.py",),
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
                "        if last.end.index > whole.index or is_begun:\n",
                (
                    "        if last.holes:\n            whole = last.holes[0].before\n"
                    "        if last.end.index > whole.index or is_begun:\n"
                ),
            ),
        ),
        known=(19,),
        rulings=(2,),
    ),
    Mutant(
        "repair without identity",
        "raftlog.storage.holes",
        (("    return entries[-1].checksum == hole.checksum\n", "    return True\n"),),
        tests=("tests/sim/test_findings.py",),
        rulings=(20,),
    ),
    Mutant(
        "stored entry known by its own checksum only",
        "raftlog.storage.span",
        (("            if entry.checksum != checksum:\n", "            if checksum < 0:\n"),),
        tests=("tests/storage/test_lost_writes.py",),
    ),
    Mutant(
        "branch that a lost write brought back is trusted",
        "raftlog.storage.scan",
        (("if not (0 < number < cut.unit and last > cut.index):", "if number >= 0:"),),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(16,),
    ),
    Mutant(
        "another log than the promised one is opened",
        "raftlog.storage.durable_mark",
        (
            (
                "        return self.checksum not in (_UNKNOWN, checksum)\n",
                "        return False\n",
            ),
        ),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(16,),
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
        "segment with a lost header taken for one that was being made",
        "raftlog.storage.recovery",
        (
            (
                "        if first <= self.watermark.index:\n            return True\n",
                "        if first > 0:\n            return True\n",
            ),
        ),
        tests=("tests/storage/test_lost_header.py",),
        rulings=(2,),
    ),
    Mutant(
        "lost beginning of a segment taken from a head without a proof",
        "raftlog.storage.lost_header",
        (
            (
                "    if unit is None:\n        return None\n",
                "    if unit is None:\n        return claim_done(0, before)\n",
            ),
        ),
        tests=("tests/storage/test_lost_header.py",),
    ),
    Mutant(
        "header that is made again outranks what was promised behind it",
        "raftlog.storage.recovery",
        (
            (
                "self._last_cut() if begun is None else begun.unit)",
                "self.watermark.unit)",
            ),
        ),
        tests=("tests/storage/test_lost_header.py",),
        rulings=(2,),
    ),
    Mutant(
        "entries behind a lost head counted to the unit before it",
        "raftlog.storage.scan",
        (("        self._units.append((0, self._end.index))\n", ""),),
        tests=("tests/storage/test_lost_writes.py",),
        rulings=(16,),
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
    Mutant(
        "name of a new segment not synced",
        "raftlog.storage.performer",
        (
            (
                (
                    "        self._files.sync_directory(self._log_directory)\n"
                    "        file.become(made)\n"
                ),
                "        file.become(made)\n",
            ),
        ),
        known=(31,),
    ),
    Mutant(
        "name of a snapshot not synced",
        "raftlog.storage.snapshot_store",
        (
            (
                "self._path(index))\n        files.sync_directory(self._directory)\n",
                "self._path(index))\n",
            ),
        ),
        known=(31,),
        tests=("tests/crash/test_crash_states.py",),
    ),
    Mutant(
        "unsynced tail promised after a restart",
        "raftlog.storage.recovery",
        (
            (
                "        if end.index <= self.watermark.index:\n            return\n",
                "        if end.index >= 0:\n            return\n",
            ),
        ),
        rulings=(2,),
    ),
    Mutant(
        "torn tail taken for damage (etcd 6378)",
        "raftlog.storage.recovery",
        (
            (
                "        if last.end.index > whole.index or is_begun:\n",
                "        if last.end.index < 0:\n",
            ),
        ),
        known=(19,),
        rulings=(2,),
    ),
    Mutant(
        "mark not written after a unit",
        "raftlog.storage.performer",
        (
            (
                "        self.sync(file)\n        self.write_mark(claim)\n",
                "        self.sync(file)\n",
            ),
        ),
        needs=("BIT_ROT",),
        rulings=(2,),
    ),
    Mutant(
        "reset that a crash interrupted is not finished (openraft t33)",
        "raftlog.storage.recovery",
        (("        if not self.watermark.reset:\n", "        if self.watermark.unit >= 0:\n"),),
        needs=("OUTAGE",),
        known=(23,),
    ),
    Mutant(
        "segment closed before what a plan writes to it",
        "raftlog.storage.plan",
        (("        segment.pins += 1\n", ""),),
        tests=("tests/storage/test_segments.py",),
    ),
    Mutant(
        "kept snapshots are those with the highest numbers",
        "raftlog.storage.snapshot_store",
        (
            (
                "        kept = self._kept()\n        for other in self.indexes():\n",
                "        kept = self.indexes()[:KEPT]\n        for other in self.indexes():\n",
            ),
        ),
        tests=("tests/storage/test_snapshot_store.py",),
    ),
    Mutant(
        "trims and repairs wait for an idle disk",
        "raftlog.node.persister",
        (("            self._errand_is_due = bool(self._errands)\n", ""),),
        tests=("tests/node/test_persister.py",),
    ),
    Mutant(
        "state of what os-cache has lost is kept",
        "raftlog.storage.whole_prefix",
        ((".give_up(prefix.end.index)", ""),),
        tests=("tests/storage/test_cached_writes.py",),
    ),
)
