"""Bugs of what clients are told of changes and of state, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

TOLD_MUTANTS: Final = (
    Mutant(
        "commit answered from what this node has applied",
        "raftlog.service.claims",
        (
            (
                "            level = self._machine.feature_level\n",
                (
                    "            level, known = self._machine.feature_level, make()\n"
                    "            claims = [self._machine.claims.get(known.group, queue)"
                    " for queue, _ in known.offsets]\n"
                    "            if all(claim and claim.committed == offset for claim, (_, offset)"
                    " in zip(claims, known.offsets)):\n"
                    "                return reply(OffsetsCommitted())\n"
                ),
            ),
        ),
    ),
    Mutant(
        "group described without asking the others",
        "raftlog.service.groups",
        (
            (
                (
                    "            self._unread.find(state.behind, found)\n\n"
                    "        self._replica.read_index(ready)\n"
                ),
                "            self._unread.find(state.behind, found)\n\n        ready(None)\n",
            ),
        ),
        rulings=(23,),
    ),
    Mutant(
        "commit of several queues stores what comes before the one that is refused",
        "raftlog.broker.claims",
        (
            (
                "        for claim, offset in self.check_commit(command):\n",
                (
                    "        replace, all_of_it = msgspec.structs.replace, command.offsets\n"
                    "        singles = [replace(command, offsets=(each,), read_from=())"
                    " for each in all_of_it]\n"
                    "        for claim, offset in (it for each in singles"
                    " for it in self.check_commit(each)):\n"
                ),
            ),
        ),
    ),
    Mutant(
        "seek leaves the life of a static member behind",
        "raftlog.broker.claims",
        (("            claim.life = 0\n", ""),),
    ),
    Mutant(
        "quota answered from what this node has applied",
        "raftlog.service.quotas",
        (
            (
                '        ``TopicNotFound`` and ``LimitReached``, too.\n        """\n',
                (
                    '        ``TopicNotFound`` and ``LimitReached``, too.\n        """\n'
                    "        found = self._machine.state.quotas.table.get((kind, name))\n"
                    "        if found and (found.bytes_per_s, found.records_per_s) == rates:\n"
                    "            return reply(found)\n"
                ),
            ),
        ),
    ),
    Mutant(
        "topic described without asking the others",
        "raftlog.service.topics",
        (
            (
                (
                    "            return self._state(topic, self._footprint.hold())\n\n"
                    "        look(self._replica, answer, reply)\n"
                ),
                (
                    "            return self._state(topic, self._footprint.hold())\n\n"
                    "        reply(answer())\n"
                ),
            ),
        ),
        rulings=(23,),
    ),
    Mutant(
        "queues of a topic looked at before the others are asked",
        "raftlog.service.topics",
        (
            (
                (
                    "            return self._state(topic, self._footprint.hold())\n\n"
                    "        look(self._replica, answer, reply)\n"
                ),
                (
                    "            return self._state(topic, self._footprint.hold())\n\n"
                    "        found = answer()\n"
                    "        look(self._replica, lambda: found, reply)\n"
                ),
            ),
        ),
        rulings=(23,),
    ),
    Mutant(
        "change of the members told when it is appended",
        "raftlog.node.change",
        (("        elif not result:\n", "        elif result is not None:\n"),),
        needs=("MEMBERS",),
    ),
    Mutant(
        "deleted topic leaves its claims",
        "raftlog.broker.carrying",
        (("            state.claims.forget_queue(number)\n", ""),),
    ),
)
