"""Bugs of atomic transactions, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

_MACHINE: Final = "raftlog.broker.atomic"
_DISPATCH: Final = "raftlog.client.atomic_dispatch"
_OF_MACHINE: Final = ("tests/broker/test_atomic.py",)
_OF_CLIENT: Final = ("tests/client/test_atomic.py",)

ATOMIC_MUTANTS: Final = (
    Mutant(
        "copy of a transaction stored again",
        _MACHINE,
        (("        if known:\n", "        if False:\n"),),
        tests=_OF_MACHINE,
        rulings=(9, 19),
    ),
    Mutant(
        "leases of a transaction not looked at before its changes",
        _MACHINE,
        (("            if stale:\n", "            if False:\n"),),
        tests=_OF_MACHINE,
        rulings=(19,),
    ),
    Mutant(
        "offsets of a transaction not committed",
        _MACHINE,
        (("            self._state.claims.commit(each)\n", "            pass\n"),),
        tests=_OF_MACHINE,
        rulings=(12, 19),
    ),
    Mutant(
        "messages come again before the outcome of a transaction is known",
        "raftlog.client.rewinding",
        (("        if attempt is not None:\n", "        if False:\n"),),
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
        "raftlog.client.atomic",
        (
            (
                "            attempt.fate.add_done_callback(lambda _: self._free(attempt))\n",
                "            self._free(None)\n",
            ),
        ),
        tests=_OF_CLIENT,
        rulings=(10,),
    ),
)
