"""Bugs of half messages, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

_TRANSACTIONS: Final = "raftlog.broker.transactions"
_OF_CLIENT: Final = ("tests/client/test_halves.py",)
_OF_CLOSING: Final = ("tests/client/test_closing.py",)
_TAKES: Final = (
    (
        (
            "        if self._closed is not None:\n"
            "            end(asked.future, self._closed)\n"
            "            return\n"
            "        self._waiting"
        ),
        "        self._waiting",
    ),
)

HALF_MUTANTS: Final = (
    Mutant(
        "rollback reveals",
        _TRANSACTIONS,
        (
            (
                "                self._hidden.drop(key)\n",
                "                self._hidden.reveal(key, log_time_ms)\n",
            ),
        ),
    ),
    Mutant(
        "half message visible before its commit",
        _TRANSACTIONS,
        (
            (
                "        self._transactors.count(owner, number, 1, log_time_ms)\n",
                (
                    "        self._transactors.count(owner, number, 1, log_time_ms)\n"
                    "        self._hidden.reveal((hidden.queue, hidden.id), log_time_ms)\n"
                    "        self._hidden.add(hidden, log_time_ms)\n"
                ),
            ),
        ),
    ),
    Mutant(
        "decision told as it is asked for, whatever it was",
        "raftlog.broker.decisions",
        (("    if row.decision != decision:\n", "    if False:\n"),),
    ),
    Mutant(
        "decision not remembered",
        _TRANSACTIONS,
        (
            (
                "        self._decisions.add(made)\n        return answer(",
                "        return answer(",
            ),
        ),
    ),
    Mutant(
        "fenced owner decides (ruling 12)",
        "raftlog.broker.transactors",
        (("        if epoch < row.epoch:\n", "        if False:\n"),),
        rulings=(12,),
    ),
    Mutant(
        "repeated answer to a check counts",
        _TRANSACTIONS,
        (
            (
                "        if item.check == row.checks + 1 and row",
                "        if item.check <= row.checks + 1 and row",
            ),
        ),
    ),
    Mutant(
        "transaction dropped after its last check",
        _TRANSACTIONS,
        (
            (
                "            self.table.rows[handle].parked = True\n",
                (
                    "            self.table.rows[handle].parked = True\n"
                    "            self.table.delete(handle)\n"
                ),
            ),
        ),
    ),
    Mutant(
        "commit tells the offset behind its message",
        _TRANSACTIONS,
        (
            (
                "                made.base_offset = self._hidden.reveal(key, log_time_ms)\n",
                (
                    "                made.base_offset = self._hidden.reveal(key, log_time_ms)\n"
                    "                made.base_offset = Offset(made.base_offset + made.count)\n"
                ),
            ),
        ),
    ),
    Mutant(
        "owner that comes to another group is not looked for again",
        "raftlog.service.checks",
        (("        if seen != self._regrouped:\n", "        if False:\n"),),
        tests=("tests/service/test_transactions.py",),
    ),
    Mutant(
        "local work that goes on is checked by its own client",
        "raftlog.client.open_halves",
        (
            (
                "        return number in known.given_up or (half is not None and half.is_open)\n",
                "        return number in known.given_up\n",
            ),
        ),
        tests=("tests/client/test_in_hand.py",),
    ),
    Mutant(
        "half message that was given up is asked about once",
        "raftlog.client.half_dispatch",
        (("                await asyncio.sleep(RETRY_PAUSE_S)\n", "                return\n"),),
        tests=_OF_CLIENT,
    ),
    Mutant(
        "half message of a cancelled block is rolled back",
        "raftlog.client.halves",
        (
            (
                "        if self._asked is Verdict.COMMIT or not isinstance(error, Exception):\n",
                "        if self._asked is Verdict.COMMIT:\n",
            ),
        ),
        tests=_OF_CLIENT,
    ),
    Mutant(
        "half message whose rollback had no answer is committed by the end of its block",
        "raftlog.client.halves",
        (
            (
                "        self._is_in_hand, self._asked = False, Verdict.ROLLBACK\n",
                "        self._is_in_hand = False\n",
            ),
        ),
        tests=_OF_CLIENT,
    ),
    Mutant(
        "commit under way waits on when its producer is closed",
        "raftlog.client.turns",
        (("                end(each.future, unknown)\n", "                pass\n"),),
        tests=_OF_CLOSING,
    ),
    Mutant(
        "commit under way is told on closing that it was not asked",
        "raftlog.client.turns",
        (
            (
                "                end(each.future, unknown)\n",
                "                end(each.future, error)\n",
            ),
        ),
        tests=_OF_CLOSING,
    ),
    Mutant(
        "throttled half message is asked again after closing",
        "raftlog.client.half_dispatch",
        (
            (
                "self._staging.again(each, refusal.retry_after)\n",
                "self._loop.call_later(refusal.retry_after, self._staging._take, each)\n",
            ),
        ),
        tests=_OF_CLOSING,
        elsewhere=(("raftlog.client.turns", _TAKES),),
    ),
)
