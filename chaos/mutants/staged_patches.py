"""Bugs of large transactions: a part that is seen, that stays, is another's, or in disorder."""

from typing import Final

from chaos.mutants.mutant import Mutant

_STAGING: Final = "raftlog.broker.staging"
_ATOMIC: Final = "raftlog.broker.atomic"
_STAGED: Final = ("staged",)
_OF_CLIENT: Final = ("tests/client/test_staging.py",)

_REVEAL: Final = (
    "        for id_ in staged[queue.number]:\n"
    "            state.staging.reveal((queue.number, id_), state.log_time_ms)\n"
)

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
        works=_STAGED,
        rulings=(19,),
    ),
    Mutant(
        "parts of a transaction that never came stay for ever",
        "raftlog.broker.state",
        (("self.transactors, self.staging),\n", "self.transactors),\n"),),
        works=_STAGED,
        rulings=(19,),
    ),
    Mutant(
        "staged parts of a snapshot are not taken in",
        "raftlog.broker.state",
        (("        self.staging.load()\n", ""),),
        works=_STAGED,
        rulings=(19,),
    ),
    Mutant(
        "one staged part of a queue is committed and not all",
        _ATOMIC,
        (("for id_ in staged[queue.number]:", "for id_ in staged[queue.number][:1]:"),),
        works=_STAGED,
        rulings=(19,),
    ),
    Mutant(
        "what was staged comes behind what was not",
        _ATOMIC,
        (
            (_REVEAL, ""),
            ("        return base\n", _REVEAL + "        return base\n"),
        ),
        works=_STAGED,
        rulings=(19,),
    ),
    Mutant(
        "parts of another's transaction are committed",
        _STAGING,
        (("        is_whole = [", "        is_whole = True or ["),),
        works=_STAGED,
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
