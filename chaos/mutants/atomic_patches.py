"""Bugs of atomic transactions: half of one, one twice, one that is believed too early."""

from typing import Final

from chaos.mutants.mutant import Mutant

_ATOMIC: Final = "raftlog.broker.atomic"
_REWINDING: Final = "raftlog.client.rewinding"
_DISPATCH: Final = "raftlog.client.atomic_dispatch"
_TESTS: Final = ("tests/broker/test_atomic.py",)
_SETTLERS: Final = ("settlers",)
_OF_CLIENT: Final = ("tests/client/test_atomic.py",)
_OF_REFUSED: Final = ("tests/client/test_going_back.py",)
_OF_MESSAGES: Final = ("tests/client/test_acknowledging.py",)

ATOMIC_MUTANTS: Final = (
    Mutant(
        "acks of one group looked at, those of all done",
        _ATOMIC,
        (
            (
                "        for ack in head.acks:\n            stale =",
                "        for ack in head.acks[:1]:\n            stale =",
            ),
        ),
        tests=_TESTS,
        rulings=(19,),
    ),
    Mutant(
        "offsets of a transaction forgotten",
        _ATOMIC,
        (("            state.claims.commit(offsets)\n", "            pass\n"),),
        rulings=(19,),
    ),
    Mutant(
        "transaction stored before its offsets are looked at",
        _ATOMIC,
        (("            state.claims.check_commit(offsets)\n", "            pass\n"),),
        rulings=(19,),
    ),
    Mutant(
        "copy of a transaction stored again",
        _ATOMIC,
        (("        if any(told):\n", "        if not head.parts:\n"),),
        tests=_TESTS,  # in a simulation its offsets refuse it: they say from where they were read
        rulings=(9, 19),
    ),
    Mutant(
        "acks of a transaction forgotten",
        _ATOMIC,
        (("            state.leasing.ack(ack, state.log_time_ms)\n", "            pass\n"),),
        works=_SETTLERS,
        rulings=(19,),
    ),
    Mutant(
        "stale acks of a transaction left out",
        _ATOMIC,
        (("            if stale:\n", "            if False:\n"),),
        works=_SETTLERS,
        rulings=(19,),
    ),
    Mutant(
        "messages of a refused transaction are acknowledged",
        _ATOMIC,
        (
            ("        queues = self._check_parts(head, batches)\n", ""),
            (
                "        parts = tuple(\n            PartStored(queue.number, self",
                (
                    "        for ack in head.acks:\n"
                    "            state.leasing.ack(ack, state.log_time_ms)\n"
                    "        queues = self._check_parts(head, batches)\n"
                    "        parts = tuple(\n            PartStored(queue.number, self"
                ),
            ),
            (
                (
                    "            state.claims.commit(offsets)\n        for ack in head.acks:\n"
                    "            state.leasing.ack(ack, state.log_time_ms)\n"
                ),
                "            state.claims.commit(offsets)\n",
            ),
        ),
        works=_SETTLERS,
        rulings=(19,),
    ),
    Mutant(
        "acks of a transaction's other groups lost on the way to the log",
        "raftlog.service.transaction_handlers",
        (("map(ack_of, message.acks)", "map(ack_of, message.acks[:1])"),),
        works=_SETTLERS,
        rulings=(19,),
    ),
    Mutant(
        "what was read twice is counted twice",
        "raftlog.broker.claims",
        (("    if read_from != committed:\n", "    if read_from > committed:\n"),),
        tests=_TESTS,
        rulings=(12, 19),
    ),
    Mutant(
        "message that may have been finished so is finished again with what was made of it",
        _ATOMIC,
        (("once=once", "once=False"),),
        works=_SETTLERS,
        rulings=(19,),
    ),
    Mutant(
        "messages come again before the outcome of a transaction is known",
        _REWINDING,
        (("fates = ownership.fates(owned.number)", "fates = set()"),),
        tests=_OF_CLIENT,
        rulings=(10, 12),
    ),
    Mutant(
        "identity of an unknown transaction used again without a fence",
        _DISPATCH,
        (
            (
                "            if attempt.loose and not attempt.fate.done():\n",
                "            if False:\n",
            ),
        ),
        tests=_OF_CLIENT,
        rulings=(10,),
    ),
    Mutant(
        "refusal after an unknown try believed",
        _DISPATCH,
        (
            (
                "                return await self._ask_fence(attempt, deadline, error)\n",
                "                raise\n",
            ),
        ),
        tests=_OF_CLIENT,
        rulings=(22,),
    ),
    Mutant(
        "message of an unknown transaction in another one",
        "raftlog.client.acknowledging",
        (
            (
                "attempt.fate.add_done_callback(lambda _: self._free(attempt, failure))\n",
                "self._free(None, failure)\n",
            ),
        ),
        tests=_OF_CLIENT,
        rulings=(10,),
    ),
    Mutant(
        "handler acknowledges before its transaction commits",
        "raftlog.client.acknowledging",
        (("        if self.under_way is None and error is not None:\n", "        if True:\n"),),
        tests=_OF_MESSAGES,
        rulings=(10,),
    ),
    Mutant(
        "what stands behind a refused message is passed over",
        _REWINDING,
        (
            (
                "        self._refuse(*place)\n        return None\n",
                "        raise lost_queue(*place)\n",
            ),
            (
                "self._places.update((owned.topic, owned.place) for owned in queues)\n",
                "del queues\n",
            ),
        ),
        tests=_OF_REFUSED,
    ),
    Mutant(
        "offsets that were refused, and nobody minds, are left out of their transaction",
        _REWINDING,
        (("        self._check_refusal()\n        subscription", "        subscription"),),
        tests=_OF_REFUSED,
    ),
    Mutant(
        "transaction that is tried again finishes nothing and sends all",
        _REWINDING,
        (
            (
                "            if is_lost and owned.handed >",
                "            if False and owned.handed >",
            ),
        ),
        tests=_OF_REFUSED,
    ),
    Mutant(
        "thread finishes no more than what came at once",
        "raftlog.sync",
        (
            (
                "        if self._auto_commit:\n            self._given",
                "        if True:\n            self._given",
            ),
        ),
        tests=("tests/client/test_sync_atomic.py",),
    ),
    Mutant(
        "handler that failed is acknowledged if nobody could be told",
        "raftlog.client.acknowledging",
        (('            self._refusals[message] = "its handler failed"\n', "            pass\n"),),
        tests=_OF_MESSAGES,
    ),
)
