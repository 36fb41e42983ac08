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
)
