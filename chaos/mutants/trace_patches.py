"""Bugs of alarms and traces, as patches of the source: what somebody is told of the past."""

from typing import Final

from chaos.mutants.mutant import Mutant

_WALKS: Final = "raftlog.service.log_walks"
_WALK_TESTS: Final = ("tests/service/test_log_walks.py",)
_HISTORY_TESTS: Final = ("tests/service/test_message_history.py",)
_HIDDEN: Final = "raftlog.service.hidden_tracing"
_HIDDEN_TESTS: Final = ("tests/service/test_hidden_tracing.py",)

TRACE_MUTANTS: Final = (
    Mutant(
        "alarm of blocked messages forgets what a snapshot had",
        "raftlog.broker.flights",
        (
            (
                "        self._gather_ends()\n\n    # -- looking",
                "        self._gather_ends()\n        self.blocked.clear()\n\n    # -- looking",
            ),
        ),
        tests=("tests/broker/test_blocked.py",),
    ),
    Mutant(
        "alarm of blocked messages names those that wait shortest",
        "raftlog.service.blocked",
        (("    waiting.sort()\n", "    waiting.sort(reverse=True)\n"),),
        tests=("tests/service/test_blocked.py",),
    ),
    Mutant(
        "walk through the log leaves out the rest of an entry",
        _WALKS,
        (
            (
                "after = (entry.index << POSITION_BITS | number) + 1",
                "after = entry.index + 1 << POSITION_BITS",
            ),
        ),
        tests=_WALK_TESTS,
    ),
    Mutant(
        "walk through the log of what this node happens to have",
        _WALKS,
        (("self.replica.read_index(walk.begin)", "walk.begin(None)"),),
        tests=_WALK_TESTS,
        rulings=(23,),
    ),
    Mutant(
        "walk through the log passes over what was trimmed without a word",
        _WALKS,
        (("self._position = self._began = first", "self._position = first"),),
        tests=_WALK_TESTS,
    ),
    Mutant(
        "seek that is refused gets into the log",
        "raftlog.service.proposing",
        (("                check(make())\n", "                make()\n"),),
        tests=("tests/service/test_groups.py",),
    ),
    Mutant(
        "commit of a zombie counts among the seeks of a group",
        "raftlog.service.standing",
        (("            return is_later and not self.is_sure\n", "            return True\n"),),
        tests=("tests/service/test_seek_history.py",),
    ),
    Mutant(
        "seeks of a group forget what the answer before knew",
        "raftlog.client.log_walking",
        (("bytes(answer.carry)", 'b""'),),
        tests=("tests/client/test_log_walking.py",),
    ),
    Mutant(
        "history tells of commits that pass nothing",
        "raftlog.service.message_history",
        (("if holds and before <= place.offset < to:", "if holds and place.offset < to:"),),
        tests=_HISTORY_TESTS,
    ),
    Mutant(
        "history tells what was said of other messages of a lease",
        "raftlog.service.message_history",
        (
            (
                "if queue == place.queue and place.offset in offsets:",
                "if queue == place.queue:",
            ),
        ),
        tests=_HISTORY_TESTS,
    ),
    Mutant(
        "history takes what came too late for what counted",
        "raftlog.client.message_history",
        (("number < begun.get(event.group, 0)", "number < 0"),),
        tests=("tests/client/test_message_history.py",),
    ),
    Mutant(
        "trace tells a cancelled message as one that came",
        _HIDDEN,
        (
            (
                "        if cancelled is not None:\n",
                "        if cancelled is not None and not id_:\n",
            ),
        ),
        tests=_HIDDEN_TESTS,
    ),
    Mutant(
        "trace finds a delayed message where another one of its entry came",
        _HIDDEN,
        (("and begin <= posting.position < end:", "and begin < end:"),),
        tests=_HIDDEN_TESTS,
    ),
)
