"""Bugs of large transactions: a part that is seen, that stays, or that is another's."""

from typing import Final

from chaos.mutants.mutant import Mutant

_STAGING: Final = "raftlog.broker.staging"
_TESTS: Final = ("tests/broker/test_staging.py",)
_OF_CLIENT: Final = ("tests/client/test_staging.py",)

STAGED_MUTANTS: Final = (
    Mutant(
        "part of a transaction visible before its commit",
        _STAGING,
        (
            (
                "        return BatchStaged(row.id, batch.count, place.term, place.index)\n",
                (
                    "        self.reveal(row.key, log_time_ms)\n"
                    "        return BatchStaged(row.id, batch.count, place.term, place.index)\n"
                ),
            ),
        ),
        tests=_TESTS,
        rulings=(19,),
    ),
    Mutant(
        "parts of a transaction that never came stay for ever",
        "raftlog.broker.state",
        (("self.transactors, self.staging),\n", "self.transactors),\n"),),
        tests=_TESTS,
        rulings=(19,),
    ),
    Mutant(
        "parts of another's transaction are committed",
        _STAGING,
        (("        is_whole = [", "        is_whole = True or ["),),
        tests=_TESTS,
        rulings=(9, 19),
    ),
    Mutant(
        "parts of a transaction confirmed before its commit",
        "raftlog.client.identities",
        (("row.next, row.known)", "row.next, row.next)"),),
        tests=_OF_CLIENT,
        rulings=(9,),
    ),
    Mutant(
        "identity whose part is without an answer used again",
        "raftlog.client.atomic_staging",
        (("        self._identity.is_good = False\n", ""),),
        tests=_OF_CLIENT,
        rulings=(10,),
    ),
)
