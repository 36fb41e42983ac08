"""Bugs of queue-style groups, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

_LEASING: Final = "raftlog.broker.leasing"
_FIRST: Final = "raftlog.broker.first_leases"
_FLIGHTS: Final = "raftlog.broker.flights"
_RECEIVING: Final = "raftlog.service.receiving"
_CALLS: Final = "raftlog.client.calls"
_CONSUMER: Final = "raftlog.client.queue_consumer"
_OF_CLOSING: Final = ("tests/client/test_closing.py",)
_SWALLOWS: Final = (
    (
        "            except Closed:\n",
        "            except (Closed, asyncio.CancelledError):\n",
    ),
)

QUEUE_MUTANTS: Final = (
    Mutant(
        "old lease handle acknowledges",
        "raftlog.broker.held",
        (
            (
                "                elif row.handle == handle:\n",
                "                elif row.handle > 0:\n",
            ),
        ),
    ),
    Mutant(
        "lease asked for again is another one",
        _LEASING,
        (("        if held:  # asked again", "        if False:  # asked again"),),
    ),
    Mutant(
        "new leader ends leases at once (ruling 25)",
        _LEASING,
        (
            (
                "        self.held_until_ms = now_ms + grace_ms\n",
                "        self.held_until_ms = now_ms\n",
            ),
        ),
        rulings=(25,),
    ),
    Mutant(
        "retention takes what is in flight (ruling 7)",
        "raftlog.broker.carrying",
        (
            (
                "        start = self._state.start_may_be(command.queue, command.start)\n",
                "        start = command.start\n",
            ),
        ),
        tests=("tests/broker/test_leases_and_retention.py",),
        rulings=(7,),
    ),
    Mutant(
        "lease of who asked again is given back",
        _RECEIVING,
        (
            (
                "        if not receiving.is_under_way and self._by",
                "        if self._by",
            ),
        ),
        tests=("tests/service/test_receiving.py",),
    ),
    Mutant(
        "key goes on before its message is finished",
        _FLIGHTS,
        (
            (
                "        parks = bool(hash_) and (group, queue, hash_) in self._lines\n",
                "        parks = False\n",
            ),
        ),
    ),
    Mutant(
        "expired lease is no attempt",
        _LEASING,
        (
            (
                "group.settings.attempts_max:\n            self._use_up(group, row, EXPIRED",
                "1_000_000:\n            self._use_up(group, row, EXPIRED",
            ),
        ),
    ),
    Mutant(
        "message leased for nobody is kept",
        _RECEIVING,
        (
            (
                "                    self._give_back([*outcome.messages])\n",
                "                    pass\n",
            ),
        ),
        tests=("tests/service/test_receiving.py",),
    ),
    Mutant(
        "dead letter leaves its message in flight",
        "raftlog.broker.dead_letters",
        (("        state.leasing.bury(group, row, state.log_time_ms)\n", ""),),
    ),
    Mutant(
        "untried attempt is taken away twice",
        _LEASING,
        (
            (
                "                row.attempts -= 1\n",
                "                row.attempts -= 2\n",
            ),
        ),
    ),
    Mutant(
        "message that is tried again loses its place in line",
        _FLIGHTS,
        (
            (
                "        self._take_out(key, row, stays_in_line=True)\n",
                "        self._take_out(key, row)\n",
            ),
        ),
    ),
    Mutant(
        "cursor passes over a message",
        _FIRST,
        (
            (
                "            self._unread.move(group, queue, at, offset)\n",
                "            self._unread.move(group, queue, at, min(offset + 1, end))\n",
            ),
        ),
    ),
    Mutant(
        "filter passes over what matches and is not asked for yet",
        _FIRST,
        (("                to = offset\n                break\n", "                break\n"),),
        works=("filtered groups",),
    ),
    Mutant(
        "what another version of a filter has found is told",
        "raftlog.service.matching",
        (
            (
                "            or (found.version, found.fifo) != (version, fifo)\n",
                "            or found.fifo != fifo\n",
            ),
        ),
        works=("filtered groups",),
        tests=("tests/service/test_matching.py",),
    ),
    Mutant(
        "what is told of a filter counts for another one",
        _FIRST,
        ((" or command.version != row.version", ""),),
        tests=("tests/broker/test_filtered_groups.py",),
    ),
    Mutant(
        "seek forgets who has finished a message the first time too late",
        "raftlog.broker.queue_seeks",
        (
            (
                "            self._finishers.forget_from(group.number, each.queue, each.after)\n",
                "",
            ),
        ),
        tests=("tests/broker/test_queue_seeks.py",),
    ),
    Mutant(
        "seek ends what is in flight before the new place",
        "raftlog.broker.queue_seeks",
        (
            (
                "            rows = self._from(group, each.queue, each.after)\n",
                "            rows = self._from(group, each.queue, 0)\n",
            ),
        ),
        works=("sought groups",),
    ),
    Mutant(
        "seek leaves in flight what is to come again",
        "raftlog.broker.queue_seeks",
        (
            (
                "            rows = self._from(group, each.queue, each.after)\n",
                "            rows = self._from(group, each.queue, each.after)[1:]\n",
            ),
        ),
        works=("sought groups",),
    ),
    Mutant(
        "seek loses count of what retention took",
        "raftlog.broker.queue_seeks",
        (
            (
                "self._queues.find(each.queue), each.before, each.after)\n",
                "self._queues.find(each.queue), 0, each.after)\n",
            ),
        ),
        works=("sought groups",),
    ),
    Mutant(
        "lease of the leader before leaves its holder in line",
        _RECEIVING,
        (
            (
                "            if receiving is not None and receiving.stands_in_line:\n",
                "            if False:\n",
            ),
        ),
        tests=("tests/service/test_receiving.py",),
    ),
    Mutant(
        "blocked message is tried again without a decision",
        _LEASING,
        (
            (
                "row, BLOCKED, now_ms, reason, handle)\n",
                "row, WAITING, now_ms, reason, handle)\n",
            ),
        ),
    ),
    Mutant(
        "attempts go on after a decision to retry",
        _LEASING,
        (("                row.attempts = 0\n", ""),),
    ),
    Mutant(
        "dead letter that was decided on is skipped",
        _LEASING,
        (
            (
                "                self.flights.put_back(row, DEAD, now_ms, row.reason, decided)\n",
                "                self._skip(group, row, now_ms)\n",
            ),
        ),
    ),
    Mutant(
        "skipped message is not counted",
        _LEASING,
        (("        group.skipped += 1\n", ""),),
    ),
    Mutant(
        "message that retention took in flight is not counted",
        "raftlog.broker.sweeping",
        (("                    group.expired += 1\n", ""),),
        tests=("tests/broker/test_leases_and_retention.py",),
    ),
    Mutant(
        "messages that retention took before anybody leased them are not counted",
        "raftlog.broker.unread",
        (("            group.expired += at - cursor.next\n", "            pass\n"),),
        works=("queue groups",),
    ),
    Mutant(
        "what a group skipped is told as what retention took",
        "raftlog.service.lease_handlers",
        (
            ("        skipped=row.skipped,\n", "        skipped=row.expired,\n"),
            ("        expired=row.expired,\n", "        expired=row.skipped,\n"),
        ),
        works=("queue groups",),
    ),
    Mutant(
        "who runs a queue consumer is cancelled by its closing",
        _CALLS,
        (
            (
                "        task = self._loop.create_task(work)\n",
                (
                    "        task = self._loop.create_task(work)\n"
                    "        own = asyncio.current_task()\n"
                    "        self.closing.add_done_callback(lambda _: own.cancel())\n"
                ),
            ),
        ),
        tests=_OF_CLOSING,
        elsewhere=((_CONSUMER, _SWALLOWS),),
    ),
    Mutant(
        "cancellation taken for the closing of a queue consumer",
        _CONSUMER,
        _SWALLOWS,
        tests=_OF_CLOSING,
    ),
    Mutant(
        "message that comes while its consumer is closed stays leased",
        "raftlog.client.receiving",
        (
            (
                "        except (asyncio.CancelledError, Closed):\n",
                "        except asyncio.CancelledError:\n",
            ),
        ),
        tests=_OF_CLOSING,
    ),
)
