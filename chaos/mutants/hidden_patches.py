"""Bugs of what is hidden for a while: bodies that go too early, deliveries at the wrong time."""

from typing import Final

from chaos.mutants.mutant import Mutant

_HIDDEN: Final = "raftlog.broker.hidden"
_DELAYS: Final = "raftlog.broker.delays"

HIDDEN_MUTANTS: Final = (
    Mutant(
        "visible reference not counted",
        "raftlog.broker.needs",
        (("        row.visible_end = end\n", ""),),
        rulings=(7,),
    ),
    Mutant(
        "hidden body not counted",
        "raftlog.broker.queue_index",
        (("if is_seen or (is_open and need.hidden):", "if is_seen:"),),
        rulings=(7,),
    ),
    Mutant(
        "relocated although it has moved on",
        _HIDDEN,
        (
            (
                "        if row is None or (row.index, row.position) != old or",
                "        if row is None or",
            ),
        ),
        tests=("tests/broker/test_hidden.py",),
        rulings=(7,),
    ),
    Mutant(
        "copy of another batch",
        "raftlog.service.relocating",
        (
            (
                "self._propose(items[: len(found)], found)",
                "self._propose(items[: len(found)], found[::-1])",
            ),
        ),
        tests=("tests/service/test_relocating.py",),
        rulings=(7,),
    ),
    Mutant(
        "changed run written as it was",
        "raftlog.broker.table",
        (("            self._runs.change(key)\n", "            pass\n"),),
        rulings=(18,),
    ),
    Mutant(
        "run kept that changed while it was gathered",
        "raftlog.broker.table",
        (("            if is_whole and is_same and (", "            if is_whole and ("),),
        tests=("tests/broker/test_table.py",),
        rulings=(18,),
    ),
    Mutant(
        "run kept whose begin has left",
        "raftlog.broker.table",
        (
            (
                " and (before is None or before in self._rows):\n",
                ":\n",
            ),
        ),
        tests=("tests/broker/test_table.py",),
        rulings=(18, 27),
    ),
    Mutant(
        "copy forward not counted",
        "raftlog.broker.queue_index",
        (
            (
                (
                    "        for row in self.survivors.of_range(first):\n"
                    "            yield row.queue, row.log_time_ms\n"
                ),
                "",
            ),
        ),
        rulings=(7,),
    ),
    Mutant(
        "copied forward under other offsets",
        "raftlog.service.copying_forward",
        (
            (
                "found.extend(Copying(queue, one) for one in each if",
                "found.extend(Copying(queue, each[-1]) for one in each if",
            ),
        ),
        tests=("tests/service/test_copying_forward.py",),
        rulings=(7,),
    ),
    Mutant(
        "survivors not restored",
        "raftlog.broker.state",
        (("        self.index.survivors.load(snapshot.survivors)\n", ""),),
        rulings=(7,),
    ),
    Mutant(
        "posting read although its body went",
        "raftlog.broker.queue_index",
        (
            (
                "        if offset < self.survivors.copied_through(queue):\n",
                "        if offset < self._ranges_begin(queue):\n",
            ),
        ),
        tests=("tests/broker/test_survivors.py",),
        rulings=(7,),
    ),
    Mutant(
        "delivered early",
        _DELAYS,
        (
            (
                "        is_due = order is not None and order[0] <= due_ms\n",
                "        is_due = order is not None and order[0] - 700 <= due_ms\n",
            ),
            (
                "            self.due_ms = due_ms\n            self._timetable.note(due_ms)\n",
                (
                    "            self.due_ms = due_ms - 700\n"
                    "            self._timetable.note(self.due_ms)\n"
                ),
            ),
            (
                "NEVER_MS if order is None else order[0]\n",
                "NEVER_MS if order is None else order[0] - 700\n",
            ),
        ),
        rulings=(8,),
    ),
    Mutant(
        "delivered again after a restore",
        _HIDDEN,
        (
            (
                (
                    "        row = self.table.delete(key)\n"
                    "        queue = self._queues.get(row.queue)\n"
                ),
                (
                    "        row = self.table.rows[key]\n"
                    "        queue = self._queues.get(row.queue)\n"
                ),
            ),
        ),
        rulings=(7,),
    ),
    Mutant(
        "cancelled and forgotten at once",
        _DELAYS,
        (("            self.cancelled.add(CancelledBatch(*key, row.held))\n", ""),),
    ),
    Mutant(
        "delayed batch stored again",
        "raftlog.broker.hiding",
        (("            return told\n", "            return None\n"),),
        rulings=(9,),
    ),
    Mutant(
        "body on its way to the disk read from the file",
        "raftlog.service.read",
        (
            (
                "        if tail(Index(max(indexes))) is None:\n",
                "        if tail(indexes[-1]) is None:\n",
            ),
        ),
        tests=("tests/service/test_read.py",),
        rulings=(14,),
    ),
    Mutant(
        "checker that does not know rolls back",
        "raftlog.broker.transactions",
        (
            (
                "        if item.verdict:\n            decision = Decision(item.verdict)\n",
                "        if True:\n            decision = Decision(item.verdict or 2)\n",
            ),
        ),
        tests=("tests/broker/test_transactions.py",),
        rulings=(18,),
    ),
)
