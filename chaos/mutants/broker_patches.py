"""Known bugs of topic stores: duplicates, fences, groups, indexes, snapshots, stale answers."""

from typing import Final

from chaos.mutants.mutant import Mutant

_PRODUCERS: Final = "raftlog.broker.producers"
_CLAIMS: Final = "raftlog.broker.claims"
_MACHINE: Final = "raftlog.broker.machine"
_CARRYING: Final = "raftlog.broker.carrying"

BROKER_MUTANTS: Final = (
    Mutant(
        "age of a follower's state counted from the confirmation",
        "raftlog.service.freshness",
        (("max(now_ns, self._true_at_ns or now_ns)", "self._scheduler.now_ns()"),),
        tests=("tests/service/test_freshness.py",),
    ),
    Mutant(
        "bounded read served unconfirmed",
        "raftlog.service.freshness",
        (("staleness_ns and known_ns is not None and now_ns - known_ns", "0"),),
    ),
    Mutant(
        "bounded read refused by what is old",
        "raftlog.service.read",
        (("may_be_old and not self._is_exact", "False"),),
    ),
    # -- producers
    Mutant(
        "offset given when proposed",
        "raftlog.service.produce",
        (
            (
                "        self.batches += 1\n\n",
                "        self.batches += 1\n        base = found.end_offset\n\n",
            ),
            (
                "                    self.duplicates += 1\n                reply(outcome)\n",
                (
                    "                    self.duplicates += 1\n"
                    "                reply(Appended(base, outcome.count, outcome.term, "
                    "outcome.index, outcome.duplicate))\n"
                ),
            ),
        ),
    ),
    Mutant(
        "what is sent again is stored again",
        _PRODUCERS,
        (
            (
                "        if sequence == row.next_sequence:\n",
                "        if sequence <= row.next_sequence:\n",
            ),
        ),
        known=(28,),
    ),
    Mutant(
        "duplicates are not looked up after a restart",
        _PRODUCERS,
        (
            (
                "        self.table.load(((row.queue, row.producer), row) for row in rows)\n",
                (
                    "        self.table.load(((row.queue, row.producer), row) for row in rows "
                    "if not row.remembered.clear())\n"
                ),
            ),
        ),
        known=(29,),
        rulings=(3,),
    ),
    Mutant(
        "duplicate answered with its own place",
        _MACHINE,
        (
            (
                "    return Appended(*(answer.base_offset, answer.count,",
                "    return Appended(*(answer.base_offset + answer.count, answer.count,",
            ),
        ),
    ),
    Mutant(
        "gap in sequences stored",
        _PRODUCERS,
        (
            (
                "        if sequence == row.next_sequence:\n",
                "        if sequence >= row.next_sequence:\n",
            ),
        ),
    ),
    Mutant(
        "known_through ignored",
        _PRODUCERS,
        (
            (
                "        if known_through > row.known_through:\n",
                "        if known_through < 0:\n",
            ),
        ),
        rulings=(9,),
    ),
    Mutant(
        "fence does not raise the epoch (KIP-890)",
        _PRODUCERS,
        (("        row.epoch = command.epoch\n        row.next", "        row.next"),),
        rulings=(10,),
    ),
    Mutant(
        "batch of an old epoch taken for one of the new",
        _PRODUCERS,
        (
            ("            if epoch < row.epoch:\n", "            if epoch < 0:\n"),
            ("        if epoch != row.epoch:\n", "        if epoch > row.epoch:\n"),
        ),
    ),
    Mutant(
        "fence forgets what was stored",
        _PRODUCERS,
        (
            (
                "ProducerFenced(row.next_sequence, tuple(row.remembered))",
                "ProducerFenced(row.next_sequence, ())",
            ),
        ),
    ),
    Mutant(
        "two producers with one id",
        _CARRYING,
        (("ProducerBegun(place.id)", "ProducerBegun(place.index << 16)"),),
    ),
    Mutant(
        "time-out taken for a refusal",
        "raftlog.client.sequencing",
        (("        if answer.outcome is Outcome.NOT_APPLIED:\n", "        if True:\n"),),
        known=(33,),
    ),
    Mutant(
        "unknown batch's sequence used again without a fence",
        "raftlog.client.sequencing",
        (
            (
                "        elif not parcel.loose:\n            self._drop(",
                "        elif parcel:\n            parcel.loose = 0\n            self._drop(",
            ),
        ),
        rulings=(10,),
    ),
    # -- feature levels
    Mutant(
        "level raised before all members can apply it",
        "raftlog.service.levelling",
        (
            (
                "        level = min([self._machine.own_level, *map(self._level_of, others)])\n",
                "        level = self._machine.own_level if others else 0\n",
            ),
        ),
        rulings=(15,),
    ),
    Mutant(
        "level falls with the stamp of a late leader",
        "raftlog.broker.machine",
        (
            (
                "        if commands.feature_level > state.feature_level:\n",
                "        if commands.feature_level != state.feature_level:\n",
            ),
        ),
        tests=("tests/broker/test_feature_levels.py",),
        rulings=(15,),
    ),
    # -- groups
    Mutant(
        "group offset not fenced",
        _CLAIMS,
        (
            (
                "            _check_fence(claim, command)\n",
                "",
            ),
        ),
        rulings=(12,),
    ),
    Mutant(
        "claim of an old generation granted",
        _CLAIMS,
        (
            (
                "            _check_fence(claim, command, free=NOBODY)\n",
                "",
            ),
        ),
        rulings=(12,),
    ),
    Mutant(
        "committed offset goes back",
        _CLAIMS,
        (("offset < claim.committed:", "offset < 0:"),),
    ),
    Mutant(
        "seek leaves the owner",
        _CLAIMS,
        (("            claim.generation, claim.member = generation, NOBODY\n", ""),),
    ),
    Mutant(
        "member comes without a new generation",
        "raftlog.broker.groups",
        (
            (
                "        elif before is None:\n            self.begin_generation(group)\n",
                "        elif before is None:\n            pass\n",
            ),
        ),
    ),
    Mutant(
        "deleted group begins its generations anew",
        "raftlog.broker.groups",
        (("GroupRow(command.group, self.last_deleted, ", "GroupRow(command.group, 0, "),),
    ),
    Mutant(
        "deleted group leaves its claims",
        _CARRYING,
        (("        self._state.claims.forget_group(command.group)\n", ""),),
    ),
    # -- queues, index, snapshots
    Mutant(
        "start of a queue goes back",
        "raftlog.broker.queues",
        (("max(start, queue.start_offset)", "start"),),
        tests=("tests/broker/test_topics.py",),
    ),
    Mutant(
        "number of a deleted queue given away again",
        "raftlog.broker.queues",
        (
            (
                "        self.table.delete(number)\n",
                (
                    "        self.table.delete(number)\n"
                    "        self.next_number = max(self.table.rows, default=0) + 1\n"
                ),
            ),
        ),
    ),
    Mutant(
        "log time goes back with a new leader",
        _MACHINE,
        (("max(state.log_time_ms, commands.log_time_ms)", "commands.log_time_ms"),),
        elsewhere=(
            ("raftlog.node.proposing", (("        self._waits_for = first\n", "        pass\n"),)),
        ),
        rulings=(8,),
    ),
    Mutant(
        "index made otherwise after a restore",
        "raftlog.broker.queue_index",
        (
            (
                "        self.open = OpenRange(Index(end + 1))\n",
                "        self.open = OpenRange(Index(end + 1))\n        self.open.count = 1\n",
            ),
        ),
        rulings=(3,),
    ),
    Mutant(
        "snapshot taken without freezing",
        "raftlog.broker.table",
        (("        if key in self._old or (self._passed", "        if key or (self._passed"),),
        rulings=(18,),
    ),
    Mutant(
        "row that left is not in the snapshot",
        "raftlog.broker.table",
        (
            (
                "        elif key not in self._gone:\n",
                "        elif key is None:\n",
            ),
        ),
    ),
    Mutant(
        "snapshot of another index than its ranges",
        _MACHINE,
        (("*(self.applied, self.log_time_ms,", "*(self.applied - 1, self.log_time_ms,"),),
        known=(24,),
    ),
    Mutant(
        "damaged batch served",
        "raftlog.service.bodies",
        (
            (
                "    except (BadBatch, RecordTooLarge):\n        return False",
                "    except (BadBatch, RecordTooLarge):\n        return True",
            ),
        ),
    ),
    Mutant(
        "damage in an index range not looked for",
        "raftlog.broker.ranges",
        (("        if crc32c(block) != checksum:\n", "        if crc32c(block) < 0:\n"),),
    ),
    # -- trims and installs
    Mutant(
        "trim of what a queue still has",
        "raftlog.broker.queue_index",
        (
            (
                "        if start is None or start >= end:\n",
                "        if start is None or start >= end - 1:\n",
            ),
        ),
        rulings=(7,),
    ),
    Mutant(
        "log trimmed as far as the newest snapshot",
        "raftlog.service.trimming",
        (
            (
                "        through = min(known for _, known in self._kept)\n",
                "        through = self._kept[0][0]\n",
            ),
        ),
    ),
    Mutant(
        "snapshot of the leader installed without the index ranges",
        "raftlog.service.installing",
        (
            (
                "                self._next_range(fetch, FIRST_RANGE)\n",
                (
                    "                self._work(fetch, lambda: find_snapshot(self._snapshots, "
                    "lambda at, _: [msgspec.structs.replace(self._machine.ranges[-1], "
                    "last_index=at)] if self._machine.ranges else [], fetch.snapshot, "
                    "fetch.snapshot, fetched=fetch.snapshot), "
                    "lambda whole: self._ended(fetch, whole))\n"
                ),
            ),
        ),
    ),
    # -- reads
    Mutant(
        "session goes back to an older replica",
        "raftlog.service.read",
        (
            (
                "        if machine.applied < request.session_applied:\n",
                "        if machine.applied < 0:\n",
            ),
        ),
    ),
    Mutant(
        "end offset told without asking the others",
        "raftlog.service.read",
        (("        look(self.replica, answer, reply)\n", "        reply(answer())\n"),),
        rulings=(23,),
    ),
    Mutant(
        "queue denied by a replica that is behind",
        "raftlog.service.produce",
        (("    replica.read_index(ready)\n", "    refuse(no_queue(queue))\n"),),
    ),
    Mutant(
        "search by time passes a batch over",
        "raftlog.service.find",
        (
            (
                "bisect_left(postings.log_times_ms, log_time_ms)",
                "bisect_left(postings.log_times_ms, log_time_ms + 1)",
            ),
        ),
    ),
    # -- rulings turned round
    Mutant(
        "index rebuilt from the beginning of a trimmed log",
        "raftlog.service.shard",
        (
            (
                (
                    "        found = find_snapshot(snapshots, index.chain, start, through, "
                    "fetched=committed)\n"
                    "        if found is not None:\n"
                    "            snapshots.use(found.snapshot.index, fetched=found.fetched)\n"
                    "            machine.restore(found.ranges, found.snapshot)\n"
                ),
                "        machine._index.restore(start, ())\n        machine.applied = start\n",
            ),
        ),
        needs=("OUTAGE",),
        rulings=(3,),
    ),
    Mutant(
        "five batches remembered, sixty-four in flight",
        _PRODUCERS,
        (
            (
                "        row.remembered.append(batch)\n",
                "        row.remembered.append(batch)\n        del row.remembered[:-5]\n",
            ),
        ),
        rulings=(9,),
    ),
    Mutant(
        "resolved by a look, not by a commit",
        "raftlog.client.sequencing",
        (("        self.epoch += 1\n        self._next = 0\n", "        self._next = 0\n"),),
        rulings=(10,),
    ),
    Mutant(
        "batch stored unread",
        "raftlog.service.produce",
        (
            (
                "        return parse_stored_header(batch)\n",
                ("        return BatchHeader(len(batch), 1, 0, 0, 0, ANONYMOUS, 0, 0)\n"),
            ),
        ),
        rulings=(11,),
        tests=("tests/service/test_produce.py",),
    ),
    Mutant(
        "offset committed without a claim",
        _CLAIMS,
        (
            (
                "            if claim is None or command.generation > claim.generation:\n",
                "            if claim is None:\n",
            ),
        ),
        rulings=(12,),
    ),
    Mutant(
        "snapshot ahead of the own log",
        "raftlog.service.shard",
        (
            ("is_durable=ranges.are_stored,", "is_durable=lambda _: True,"),
            ("fetched=committed)", "fetched=Index(1 << 62))"),
        ),
        elsewhere=(
            (
                "raftlog.service.snapshot",
                (("        if not start <= index <= through:\n", "        if index < start:\n"),),
            ),
            (
                "raftlog.service.sealed",
                (
                    (
                        "        if sealed.last_index > self._durable():\n",
                        "        if sealed.last_index < 0:\n",
                    ),
                ),
            ),
        ),
        rulings=(14,),
    ),
    Mutant(
        "command of a newer raftlog skipped",
        "raftlog.broker.commands",
        (
            (
                "        if kind not in _TYPES or flags:\n            raise IncompatibleFormat(",
                "        if kind not in _TYPES or flags:\n            IncompatibleFormat(",
            ),
            (
                "        places.append((kind, position, length))\n",
                (
                    "        if kind in _TYPES and not flags:\n"
                    "            places.append((kind, position, length))\n"
                ),
            ),
        ),
        rulings=(15,),
        tests=("tests/broker/test_commands.py",),
    ),
    Mutant(
        "apply looks at a clock",
        _MACHINE,
        (
            (
                "        if state.log_time_ms >= state.timetable.due_ms:\n",
                (
                    '        now_ms = __import__("time").time_ns() // 1_000_000\n'
                    "        if now_ms >= state.timetable.due_ms:\n"
                ),
            ),
        ),
        rulings=(8, 15),
    ),
    Mutant(
        "what is due later is done with what is due now",
        "raftlog.broker.timetable",
        (("kind.do_next(due_ms, log_time_ms)", "kind.do_next(log_time_ms, log_time_ms)"),),
        tests=("tests/broker/test_due.py",),
        rulings=(3, 8),
    ),
)
