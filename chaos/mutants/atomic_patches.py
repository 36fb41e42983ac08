"""Bugs of atomic transactions: half of one, one twice, or one that forgets what it has read."""

from typing import Final

from chaos.mutants.mutant import Mutant

_ATOMIC: Final = "raftlog.broker.atomic"
_TESTS: Final = ("tests/broker/test_atomic.py",)

ATOMIC_MUTANTS: Final = (
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
        rulings=(9, 19),
    ),
    Mutant(
        "acks of a transaction forgotten",
        _ATOMIC,
        (("            state.leasing.ack(ack, state.log_time_ms)\n", "            pass\n"),),
        tests=_TESTS,
        rulings=(19,),
    ),
    Mutant(
        "stale acks of a transaction left out",
        _ATOMIC,
        (("            if stale:\n", "            if stale == ():\n"),),
        tests=_TESTS,
        rulings=(19,),
    ),
)
