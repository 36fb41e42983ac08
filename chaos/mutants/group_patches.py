"""Bugs of what groups read, as patches of the source: subscriptions, filters, and their lag."""

from typing import Final

from chaos.mutants.mutant import Mutant

_GROUPS: Final = "raftlog.broker.groups"
_GROUP_TESTS: Final = ("tests/broker/test_groups.py",)
_SHARES: Final = "raftlog.broker.shares"
_SHARE_TESTS: Final = ("tests/broker/test_shares.py",)
_UNREAD: Final = "raftlog.service.unread"
_UNREAD_TESTS: Final = ("tests/service/test_unread.py",)
_STEERED: Final = ("steered",)
_FILTERING: Final = "raftlog.service.filtering"
_FILTERING_TESTS: Final = ("tests/service/test_filtering.py",)

GROUP_MUTANTS: Final = (
    Mutant(
        "member with another subscription let in",
        "raftlog.broker.subscriptions",
        (("    elif not is_alone:\n", "    elif not group:\n"),),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "subscription of members that have gone stands in the way of all others",
        _GROUPS,
        (("    if not group.members:\n        return True\n", ""),),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "what was said by hand goes with the last member",
        "raftlog.broker.subscriptions",
        (("    elif known.by_hand:\n", "    elif not known:\n"),),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "what was said by hand is forgotten where another feature level begins",
        "raftlog.broker.state",
        (("            self.groups.note_by_hand()\n", "            pass\n"),),
        tests=("tests/broker/test_feature_levels.py",),
    ),
    Mutant(
        "late copy of a static member's join undoes its subscription",
        _GROUPS,
        ((" and before.life < command.life\n", "\n"),),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "member that comes back never hears of what was changed by hand",
        "raftlog.client.membership",
        (("                if subscription is None:\n", "                if subscription:\n"),),
        tests=("tests/client/test_subscriptions.py",),
    ),
    Mutant(
        "subscription changed without a new generation",
        _GROUPS,
        (
            (
                "        self._subscribe(group)\n        self.begin_generation(group)\n",
                "        self._subscribe(group)\n",
            ),
        ),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "late change of a subscription undoes a newer one",
        _GROUPS,
        (("if command.version not in (0, known.version):", "if command.version < 0:"),),
        tests=_GROUP_TESTS,
    ),
    Mutant(
        "change of a subscription by hand begins no version",
        _GROUPS,
        (
            (
                "command.wanted, known.version + 1, assignor)",
                "command.wanted, known.version, assignor)",
            ),
        ),
        works=_STEERED,
    ),
    Mutant(
        "subscription that was only confirmed by hand goes with the last member",
        _GROUPS,
        (("            if not (known.by_hand or stays):\n", "            if False:\n"),),
        works=_STEERED,
    ),
    Mutant(
        "version that a change by hand is to replace is lost on the way to the log",
        "raftlog.service.groups",
        (
            (
                "SetSubscription(group, topics, wanted, version, assignor)",
                "SetSubscription(group, topics, wanted, 0, assignor)",
            ),
        ),
        works=_STEERED,
    ),
    Mutant(
        "members are not told of the tags that their group reads",
        "raftlog.service.group_handlers",
        (("tags=found.wanted.tags, condition", "condition"),),
        works=_STEERED,
    ),
    Mutant(
        "heir owns a queue before its release",
        _SHARES,
        (("elif cooperative and row.owner in now:", "elif cooperative and not row.owner:"),),
    ),
    Mutant(
        "late release takes what was given back",
        _SHARES,
        (("            if row.revoked == revoked:\n", "            if revoked:\n"),),
        tests=_SHARE_TESTS,
    ),
    Mutant(
        "sticky assignment forgets who had what",
        "raftlog.broker.assignment",
        (('held.get(owners.get(queue, ""), free).append', "free.append"),),
        tests=_SHARE_TESTS,
    ),
    Mutant(
        "queue of another member claimed",
        _SHARES,
        (("if (row.owner, row.since) != (member, generation):", "if row is None:"),),
        tests=_SHARE_TESTS,
        rulings=(12,),
    ),
    Mutant(
        "earlier life of a static member not fenced",
        "raftlog.broker.claims",
        (("and command.life < claim.life:", "and command.life < 0:"),),
        tests=_SHARE_TESTS,
        rulings=(12,),
    ),
    Mutant(
        "replaced process leaves for its successor",
        _GROUPS,
        (("member is not None and member.life == command.life:", "member is not None:"),),
        tests=_SHARE_TESTS,
    ),
    Mutant(
        "lag as old as the newest unread record",
        _UNREAD,
        (("postings[postings.find(record[1])]", "postings[-1]"),),
        tests=_UNREAD_TESTS,
    ),
    Mutant(
        "oldest unread record looked for in the newest range",
        _UNREAD,
        (("            if rank < least:\n", "            if not found or rank > least:\n"),),
        tests=_UNREAD_TESTS,
    ),
    Mutant(
        "lag of what a group reads no more",
        "raftlog.service.groups",
        (
            (
                "self.end_offset - self.first_unread if self.is_read else 0",
                "self.end_offset - self.first_unread",
            ),
        ),
        tests=("tests/service/test_groups.py",),
    ),
    Mutant(
        "queue that nobody has claimed is no lag",
        "raftlog.service.groups",
        (
            (
                "sorted(claims.keys() | owners.keys() | read)",
                "sorted(claims.keys() | owners.keys())",
            ),
        ),
        tests=("tests/service/test_groups.py",),
    ),
    Mutant(
        "not unknown is true",
        "raftlog.wire.filter_conditions",
        (("return None if found is None else not found", "return not found"),),
        tests=("tests/wire/test_filters.py",),
    ),
    Mutant(
        "record that can't be looked into passed over",
        _FILTERING,
        (
            (
                "            found.failed = error\n            break\n",
                "            found.batches += 1\n            continue\n",
            ),
        ),
        tests=_FILTERING_TESTS,
        rulings=(11,),
    ),
    Mutant(
        "matching record passed over when an answer is full",
        _FILTERING,
        (
            (
                (
                    "                    return True\n"
                    "                self._base_offsets.append(base)\n"
                ),
                (
                    "                    numbers = []\n"
                    "                self._base_offsets.append(base)\n"
                ),
            ),
        ),
        tests=_FILTERING_TESTS,
    ),
    Mutant(
        "unfinished record committed with what is passed over",
        "raftlog.client.ownership",
        (
            (
                (
                    "            if owned.done == owned.position:  # else what was handed out is "
                    "not finished\n"
                    "                owned.done = to\n"
                    "            owned.position = to\n\n"
                    "    async def"
                ),
                ("            owned.done = to\n            owned.position = to\n\n    async def"),
            ),
        ),
        tests=("tests/client/test_consumer.py",),
    ),
)
