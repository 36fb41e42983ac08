"""Bugs of the client's spool, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

CRASH_TESTS: Final = ("tests/crash/test_spool_states.py",)

SPOOL_MUTANTS: Final = (
    Mutant(
        "spool acknowledges what is not synced",
        "raftlog.spool.journal",
        (("        file.sync()\n        places = []\n", "        places = []\n"),),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "name of a new spool file not synced",
        "raftlog.spool.journal",
        (
            (
                "create=True)\n                self._files.sync_directory(self._directory)\n",
                "create=True)\n",
            ),
        ),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "spool's files go before its mark says so",
        "raftlog.spool.journal",
        (
            (
                "        self._mark.fix(\n            Promise(kept, newest, end)\n",
                "        self._mark.write(\n            Promise(kept, newest, end)\n",
            ),
        ),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "what a spool has read again is not synced",
        "raftlog.spool.journal",
        (("        if is_newest:\n            file.sync()\n", ""),),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "spool's epoch is not written down",
        "raftlog.spool.forwarder",
        (
            (
                "await self._writer.do(self._journal.rename_to, Identity(",
                "setattr(self._journal, 'identity', Identity(",
            ),
        ),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "records leave the spool before their taker has them",
        "raftlog.spool.spool",
        (
            ("            yield [\n", "            records = [\n"),
            (
                "(self._end_standstill(topic, attempts, gone, numbers, text))\n",
                "(self._end_standstill(topic, attempts, gone, numbers, text)); yield records\n",
            ),
        ),
        tests=CRASH_TESTS,
    ),
    Mutant(
        "spool's batch is young by a clock that went back",
        "raftlog.client.ages",
        (
            (
                "        if self._now_ms() < max(self._noted_ms, batch.made_ms - self._back_ms,",
                "        if self._now_ms() < min(0, batch.made_ms,",
            ),
        ),
        tests=("tests/spool/test_lives.py",),
    ),
    Mutant(
        "spool without room and reserve ends for good",
        "raftlog.spool.forwarder",
        (
            (
                "            except (Retriable, OutcomeUnknown, NoRoom) as error:\n",
                "            except (Retriable, OutcomeUnknown) as error:\n",
            ),
        ),
        tests=("tests/spool/test_full_disk.py",),
    ),
    Mutant(
        "number of a batch that was taken out given to another record",
        "raftlog.spool.forwarder",
        (
            (
                "would take the next batch for it.\n                self._has_begun = False\n",
                "would take the next batch for it.\n                pass\n",
            ),
        ),
        tests=("tests/spool/test_taking_out.py",),
    ),
    Mutant(
        "round goes on with a topic that somebody settles meanwhile",
        "raftlog.spool.forwarder",
        (
            (
                "            if topic not in self._still:\n",
                "            if topic not in self.stuck:\n",
            ),
        ),
        tests=("tests/spool/test_taking_out.py",),
    ),
    Mutant(
        "one answer settles all batches of a spool's topic",
        "raftlog.spool.spool",
        (
            (
                "[attempt], [note(attempt)], numbers,",
                "(all_ := self._contents.attempts_of(topic)), [*map(note, all_)], numbers,",
            ),
        ),
        tests=("tests/spool/test_doubts.py",),
    ),
    Mutant(
        "age of a batch looked at before its sender has found a leader",
        "raftlog.client.forwarding",
        (("payload=lambda: (batch(),),\n", "payload=(batch(),),\n"),),
        tests=("tests/spool/test_clocks.py",),
    ),
    Mutant(
        "relay sends a batch again, whatever its age",
        "raftlog.sql.relay",
        (("            if not self._ages.may_be_sent(batch):\n", "            if not data:\n"),),
        tests=("tests/sql/test_old_batches.py",),
    ),
    Mutant(
        "clock asked where a queue has forgotten what was before a batch",
        "raftlog.client.ages",
        (("        if knew and next_sequence < batch.sequence:\n", "        if knew is None:\n"),),
        tests=("tests/sql/test_old_batches.py",),
    ),
    Mutant(
        "batch that a relay has under way settled by hand",
        "raftlog.sql.outbox",
        (
            (
                "            if all(doubt is None for _, doubt in found):\n",
                "            if not found:\n",
            ),
            ("for number, doubt in found if doubt is not None)", "for number, _ in found)"),
        ),
        tests=("tests/sql/test_old_batches.py",),
    ),
    Mutant(
        "cancelled relay leaves its write to a thread",
        "raftlog.sql.relay",
        (
            (
                "            await asyncio.wait([writing])\n            writing.exception()",
                "            del writing",
            ),
        ),
        tests=("tests/sql/test_reigns.py",),
    ),
)
