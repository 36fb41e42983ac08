"""Bugs of leader leases, as patches of the source. Seeds without leases see none of them."""

from typing import Final

from chaos.mutants.mutant import Mutant

_CORE: Final = "raftlog.raft.core"
_LEADER: Final = "raftlog.raft.leader"
_LEASE: Final = "raftlog.raft.lease"
_TESTS: Final = ("tests/raft/test_lease.py",)

LEASE_MUTANTS: Final = (
    Mutant(
        "lease kept by who asked another to stand (ruling 13)",
        _LEADER,
        (("        self._lease.give_up()  #", "        pass  #"),),
        needs=("DEPOSED",),
    ),
    Mutant(
        "lease by the wall clock",
        "raftlog.node.replica",
        (
            (
                "self.core.step(event, self._scheduler.now_ns())",
                "self.core.step(event, self._scheduler.wall_ms() * 1_000_000)",
            ),
        ),
        known=(18,),
    ),
    Mutant(
        "lease counted from the answer",
        _LEASE,
        (
            (
                "until_ns = sent_ns + length_ns\n",
                "until_ns = self._moment.ns + length_ns\n",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "lease for as long as the pledge: drift ignored",
        _LEASE,
        (("* MS_NS * LEASE_PERCENT // 100", "* MS_NS"),),
        tests=_TESTS,
    ),
    Mutant(
        "pledge broken when the connection is lost (ruling 13)",
        _CORE,
        (
            (" or (self._pledge.holds and not transfer):\n", ":\n"),
            ("or self.leadership is not None or self._pledge.holds\n", "or self.leadership\n"),
            ("message.transfer or not self._pledge.holds\n", "True\n"),
            ("is_hint = not self.membership.lease_ms\n", "is_hint = True\n"),
        ),
        needs=("DEPOSED",),
    ),
    Mutant(
        "pledge forgotten by a restart (ruling 13)",
        "raftlog.raft.state",
        (("self._members.may_have_pledged_ms)", "0)"),),
        needs=("DEPOSED",),
    ),
    Mutant(
        "pledge broken in a later term",
        _CORE,
        (("message.transfer or not self._pledge.holds\n", "True\n"),),
        tests=_TESTS,
    ),
    Mutant(
        "lease by the pledges of one half of a joint configuration",
        _LEASE,
        (
            (
                "self._moment.ns < self._quorum.committed(until)",
                "self._moment.ns < self._quorum._current.committed(until)",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "lease before an entry of the own term is committed",
        _LEADER,
        (
            (
                "        if self.commit >= self.first_index and self._lease.holds:\n",
                "        if self._lease.holds:\n",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "pledge before its configuration is on the disk",
        "raftlog.raft.listening",
        (
            (
                "        if not lease_ms or self.durable < self.configured_at:\n",
                "        if not lease_ms:\n",
            ),
        ),
        tests=_TESTS,
    ),
)
