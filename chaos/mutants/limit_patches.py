"""Bugs of what is bounded: business ids in their windows, quotas, what is kept until consumed."""

from typing import Final

from chaos.mutants.mutant import Mutant

_IDS: Final = "raftlog.broker.business_ids"
_UNIQUE: Final = "raftlog.broker.unique_appends"

LIMIT_MUTANTS: Final = (
    Mutant(
        "known id stored again",
        _UNIQUE,
        (
            (
                "        known = ids.find(number, id_) if is_remembered else None\n",
                "        known = None\n        ids.table.rows.pop((number, id_), None)\n",
            ),
        ),
        rulings=(30,),
    ),
    Mutant(
        "id forgotten before its window is over",
        _IDS,
        (("].log_time_ms + window_ms\n", "].log_time_ms + window_ms // 2\n"),),
        rulings=(30,),
    ),
    Mutant(
        "id remembered beyond its window",
        _IDS,
        (("].log_time_ms + window_ms\n", "].log_time_ms + window_ms * 2\n"),),
        rulings=(30,),
    ),
    Mutant(
        "sequence of a known id not used",
        _UNIQUE,
        (
            (
                "            self._remember(read, stored)\n            return stored\n",
                "            return stored\n",
            ),
        ),
    ),
    Mutant(
        "forgotten as soon as one group has consumed it",
        "raftlog.broker.state",
        (("        through = min(\n", "        through = max(\n"),),
        rulings=(29,),
    ),
    Mutant(
        "what was consumed looked at by the leader alone",
        "raftlog.broker.carrying",
        (
            (
                "min(command.start, state.consumed_through(command.queue))",
                "command.start",
            ),
        ),
        rulings=(29,),
        tests=("tests/broker/test_quotas.py",),
    ),
    Mutant(
        "batch beyond the quota paid for",
        "raftlog.service.admission",
        (
            (
                "                    self._refused[quota.kind, quota.name] += 1\n",
                (
                    "                    self._refused[quota.kind, quota.name] += 1\n"
                    "                    meter.bytes -= size\n"
                    "                    meter.records -= records\n"
                ),
            ),
        ),
        rulings=(25,),
        tests=("tests/service/test_admission.py",),
    ),
    Mutant(
        "quotas told by who does not know whether it leads",
        "raftlog.service.quotas",
        (("        look(self._replica, answer, reply)\n", "        reply(answer())\n"),),
        rulings=(23,),
    ),
    Mutant(
        "quota of a topic is never removed",
        "raftlog.broker.quotas",
        (
            (
                "        if self.table.get((kind, name)) is not None:\n",
                "        if kind == 'client' and self.table.get((kind, name)) is not None:\n",
            ),
        ),
    ),
    Mutant(
        "quotas of a snapshot are not taken in",
        "raftlog.broker.quotas",
        (
            (
                "        self.table.load(((row.kind, row.name), row) for row in rows)\n",
                "        pass\n",
            ),
        ),
    ),
    Mutant(
        "room for an id made by another topic",
        _IDS,
        (
            (
                "        ids = self._homes.get(row.home)\n        kept_ms = 0\n",
                "        ids = next(iter(self._homes.values()))\n        kept_ms = 0\n",
            ),
        ),
        rulings=(30,),
        tests=("tests/broker/test_business_ids.py",),
    ),
)
