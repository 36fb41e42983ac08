"""Bugs of what is bounded: ids in their windows, quotas, what is kept, what topics take."""

from typing import Final

from chaos.mutants.mutant import Mutant

_IDS: Final = "raftlog.broker.business_ids"
_UNIQUE: Final = "raftlog.broker.unique_appends"
_TYPES: Final = "raftlog.broker.message_types"

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
    Mutant(
        "queue that is added takes what its topic does not",
        "raftlog.broker.carrying",
        (("        self._state.types.topic_changed(topic)\n", ""),),
        works=("types",),
    ),
    Mutant(
        "FIFO by the key of any record",
        "raftlog.wire.record_table",
        (
            (
                "    return 0 not in (_hashes(table, layout.fifo_key_hashes_at, count) or (0,))\n",
                "    return any(_hashes(table, layout.fifo_key_hashes_at, count) or (0,))\n",
            ),
        ),
        works=("types",),
    ),
    Mutant(
        "types of a snapshot are not taken in",
        _TYPES,
        (
            (
                "        self.table.load((row.topic, row) for row in rows)\n",
                "        rows = ()\n",
            ),
        ),
        works=("types",),
    ),
    Mutant(
        "type looked at before it is known what was stored",
        "raftlog.broker.hiding",
        (
            (
                "        told = self._producers.told(\n",
                "        self._types.check(row, came)\n        told = self._producers.told(\n",
            ),
        ),
        rulings=(9,),
        tests=("tests/broker/test_message_types.py",),
    ),
    Mutant(
        "types proposed below their feature level",
        _TYPES,
        (("    if level < MESSAGE_TYPES_LEVEL:\n", "    if level < 0:\n"),),
        rulings=(15,),
        tests=("tests/service/test_message_types.py",),
    ),
)
