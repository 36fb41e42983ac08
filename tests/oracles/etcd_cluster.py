"""Runs the directives of etcd's interaction traces against our cores and compares what follows.

Two grades of agreement (raft_anchors.md 2.3): *state* compares roles, terms,
votes, leaders, commit indexes, logs, what is applied and every follower's
progress, as far as a directive shows them; *messages* compares the multiset of
what was said as well, heartbeats and their answers left out.
"""

import re
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.ids import WriteNumber
from raftlog.base.membership import NOBODY, Membership
from raftlog.raft.changes import ImpossibleStep, Place, Step
from raftlog.raft.effects import ProposalRefused, Send
from raftlog.raft.events import Propose, SnapshotFetched, Tick, Transfer
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    SnapshotOffer,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.oracles.datadriven import Case
from tests.oracles.etcd_node import (
    ELECTION_TICKS,
    Change,
    Difference,
    EtcdNode,
    Options,
    number_of,
)
from tests.oracles.transcript import (
    Shown,
    Transcript,
    read_entries,
    read_raft_states,
    read_status,
    read_transcript,
    spell_message,
)
from tests.raft.harness import replica_id

ACKNOWLEDGEMENT: Final = re.compile(r"(.* MsgAppResp \d+) 0/(\d+) c0 \(\)")
ROUNDS_MAX: Final = 10_000
"""A cluster that is not at rest after so many rounds is a bug."""
IN_FLIGHT: Final = 256
DROPPED_PROPOSAL: Final = "raft proposal dropped"
IGNORED_CHANGE: Final = "ignoring conf change"
PLACES: Final = {"v": Place.VOTER, "l": Place.LEARNER, "r": Place.NOWHERE}
UPDATE: Final = "u"
"""Passes a blob to etcd's application and changes nothing of the configuration."""
TRANSITIONS: Final = {"auto", "implicit", "explicit"}
OPTIONS: Final = {
    *("voters", "learners", "index", "inflight", "prevote", "checkquorum"),
    *("async-storage-writes", "read-only", "step-down-on-removal"),
}
SENDING: Final = {"stabilize", "process-ready", "process-append-thread"}
"""Directives that show what is sent, unless the trace is silent."""
KINDS: Final[dict[type, str]] = {
    PreVoteRequest: "MsgPreVote",
    PreVoteReply: "MsgPreVoteResp",
    VoteRequest: "MsgVote",
    VoteReply: "MsgVoteResp",
    AppendRequest: "MsgApp",
    AppendAccepted: "MsgAppResp",
    AppendRejected: "MsgAppResp",
    Heartbeat: "MsgHeartbeat",
    HeartbeatReply: "MsgHeartbeatResp",
    TimeoutNow: "MsgTimeoutNow",
    SnapshotOffer: "MsgSnap",
}


class Lacking(Enum):
    """What a trace may ask for and this core does not have."""

    UNREACHABLE = "a report that a peer is unreachable"
    FORWARDING = "a proposal that a follower passes on"
    PRIVATE = "an interface that only etcd has"


class CannotApplyError(Exception):
    """A directive asks for what this core does not have."""

    def __init__(self, lacking: Lacking, where: str) -> None:
        super().__init__(f"{where} needs {lacking.value}")
        self.lacking: Final = lacking
        self.where: Final = where


class DisagreementError(AssertionError):
    """Our cores did something else than the trace says."""

    def __init__(self, where: str, what: str, outcome: str) -> None:
        super().__init__(f"{where}: {what}: {outcome}")
        self.where: Final = where
        self.what: Final = what
        self.outcome: Final = outcome


class Mail(msgspec.Struct, frozen=True):
    """A message on its way, or a report of the own disk (``sender`` is ``to``)."""

    sender: int
    to: int
    content: Message | WriteNumber
    snapshot: SnapshotFetched | None = None
    """What is fetched if this offer of a snapshot is taken."""


class EtcdCluster:
    """The cluster of one trace, and everything that its current directive did."""

    def __init__(self, *, messages: bool) -> None:
        self._messages = messages
        self.nodes: dict[int, EtcdNode] = {}
        self._network: list[Mail] = []
        self._did = Transcript()
        self._formed_at = 0
        self.differences: set[Difference] = set()
        """What may show in what the current directive did."""
        self._is_left_on_demand = False
        """Whether a joint configuration was ever to be left only when that is proposed."""

    def run(self, case: Case) -> None:
        """Carry one directive out.

        Raises:
            CannotApplyError: It needs what this core does not have.
            DisagreementError: The outcome is not the expected one.
        """
        handlers: dict[str, Callable[[Case], None]] = {
            "log-level": lambda _: None,
            "add-nodes": self._add_nodes,
            "campaign": lambda case: self._only(case).campaign(),
            "propose": self._propose,
            "stabilize": lambda case: self._stabilize(self._named(case)),
            "process-ready": self._process_readies,
            "process-append-thread": self._process_appends,
            "process-apply-thread": lambda case: _each(self._named(case), EtcdNode.apply_one),
            "deliver-msgs": self._deliver_named,
            "tick-heartbeat": lambda case: _tick(self._only(case), 1),
            "tick-election": lambda case: _tick(self._only(case), ELECTION_TICKS),
            "set-randomized-election-timeout": self._set_timeout,
            "transfer-leadership": self._transfer,
            "propose-conf-change": self._propose_change,
            "compact": self._compact,
            "send-snapshot": self._send_snapshot,
            "raft-log": self._compare_log,
            "raft-state": self._compare_states,
            "status": self._compare_status,
        }
        lacking = {
            "report-unreachable": Lacking.UNREACHABLE,
            "forget-leader": Lacking.PRIVATE,
        }.get(case.command)
        if lacking is not None:
            raise CannotApplyError(lacking, case.where)
        self._did = Transcript()
        self.differences = set()
        for node in self.nodes.values():
            node.look_for_differences(anew=True)
        handlers[case.command](case)
        self._note_differences()
        self._compare(case)

    def _note_differences(self) -> None:
        for node in self.nodes.values():
            self.differences |= node.differences
        if self._is_left_on_demand:
            self.differences.add(Difference.LEFT_BY_ITSELF)

    # -- directives

    def _add_nodes(self, case: Case) -> None:
        if "disable-conf-change-validation" in case.arguments:
            raise CannotApplyError(Lacking.PRIVATE, case.where)
        named = {name for name, values in case.arguments.items() if values is not None}
        if named - OPTIONS:
            raise CannotApplyError(Lacking.PRIVATE, case.where)
        membership = Membership(
            voters=tuple(replica_id(int(name)) for name in case.values("voters")),
            learners=tuple(replica_id(int(name)) for name in case.values("learners")),
        )
        options = Options(
            index=int(case.value("index", "0")),
            in_flight=int(case.value("inflight", str(IN_FLIGHT))),
            pre_vote=case.value("prevote", "false") == "true",
            check_quorum=case.value("checkquorum", "false") == "true",
            async_writes=case.value("async-storage-writes", "false") == "true",
        )
        if self.nodes and membership != NOBODY and options.index != self._formed_at:
            raise CannotApplyError(Lacking.PRIVATE, case.where)
        if not self.nodes:
            self._formed_at = options.index
        for number in range(len(self.nodes) + 1, len(self.nodes) + int(case.names[0]) + 1):
            self.nodes[number] = EtcdNode(number, membership, options, self._formed_at)

    def _propose_change(self, case: Case) -> None:
        transition = case.value("transition", "auto")
        assert transition in TRANSITIONS, f"{case.where}: unknown transition {transition}"
        words = case.input.split()
        steps = tuple(
            Step(replica_id(int(word[1:])), PLACES[word[0]]) for word in words if word[0] != UPDATE
        )
        self._is_left_on_demand |= transition == "explicit"
        is_joint = transition != "auto" or len(steps) > 1
        node = self._only(case)
        if node.core.leadership is None and DROPPED_PROPOSAL not in case.expected:
            raise CannotApplyError(Lacking.FORWARDING, case.where)
        try:
            taken = bool(steps) and node.change(Change(steps, is_joint))
        except ImpossibleStep:
            taken = False
        refused = DROPPED_PROPOSAL in case.expected or IGNORED_CHANGE in case.expected
        _check(case, "a refused change", not taken, refused)
        if IGNORED_CHANGE in case.expected:
            node.step(Propose([[b""]]))  # takes the place of what was ignored

    def _compact(self, case: Case) -> None:
        node = self._only(case)
        node.compact(int(case.names[1]))
        self._compare_log(case)

    def _send_snapshot(self, case: Case) -> None:
        sender, to = (int(name) for name in case.names)
        node = self.nodes[sender]
        snapshot = node.snapshot()
        offer = SnapshotOffer(node.core.term, snapshot.base.index)
        mail = Mail(sender, to, offer, snapshot)
        self._network.append(mail)
        self._did.handled.append(self._spell(mail))

    def _propose(self, case: Case) -> None:
        node = self.nodes[int(case.names[0])]
        effects = node.step(Propose([[case.names[1].encode()]]))
        if effects.refused is ProposalRefused.NOT_LEADER and node.core.leader is not None:
            raise CannotApplyError(Lacking.FORWARDING, case.where)
        refused = DROPPED_PROPOSAL in case.expected
        _check(case, "a refused proposal", effects.refused is not None, refused)

    def _stabilize(self, nodes: list[EtcdNode]) -> None:
        for _ in range(ROUNDS_MAX):
            moved = False
            for node in nodes:
                if node.has_ready:
                    self._process_ready(node)
                    moved = True
            for node in nodes:
                moved |= self._deliver(node.number)
            for node in nodes:
                while node.append_work:
                    self._process_append(node)
                    moved = True
            for node in nodes:
                while node.apply_work:
                    node.apply_one()
                    moved = True
            if not moved:
                return
        raise AssertionError("the cluster does not come to rest")

    def _process_readies(self, case: Case) -> None:
        _each(self._named(case), self._process_ready)

    def _process_appends(self, case: Case) -> None:
        for node in self._named(case):
            if node.append_work:
                self._process_append(node)

    def _deliver_named(self, case: Case) -> None:
        kind = case.value("type", "")
        for name, values in case.arguments.items():
            if name == "drop":
                for number in values or ():
                    self._deliver(int(number), kind, drop=True)
            elif values is None:
                self._deliver(int(name), kind)

    def _set_timeout(self, case: Case) -> None:
        self._only(case).core._patience._timeout = int(case.value("timeout", ""))

    def _transfer(self, case: Case) -> None:
        target = replica_id(int(case.value("to", ""))).node
        self.nodes[int(case.value("from", ""))].step(Transfer(target))

    # -- what nodes do

    def _process_ready(self, node: EtcdNode) -> None:
        shown, sends = node.process_ready()
        did = self._did.of(node.number)
        entries, committed = did.entries + shown.entries, did.committed + shown.committed
        self._did.nodes[node.number] = msgspec.structs.replace(
            shown, entries=entries, committed=committed
        )
        self._post(node, sends)

    def _process_append(self, node: EtcdNode) -> None:
        sends, report = node.process_append()
        if report is not None:
            self._network.append(Mail(node.number, node.number, report))
        self._post(node, sends)

    def _post(self, node: EtcdNode, sends: list[Send]) -> None:
        for send in sends:
            is_offer = isinstance(send.message, SnapshotOffer)
            snapshot = node.offered[send.to] if is_offer else None
            mail = Mail(node.number, number_of(send.to), send.message, snapshot)
            self._network.append(mail)
            self._did.sent.append(self._spell(mail))

    def _deliver(self, number: int, kind: str = "", *, drop: bool = False) -> bool:
        """Hand over what is on its way to a node, or lose it; return whether there was any."""
        taken = [
            mail
            for mail in self._network
            if mail.to == number
            and not (drop and mail.sender == number)
            and kind in ("", KINDS.get(type(mail.content), "report"))
        ]
        self._network = [mail for mail in self._network if mail not in taken]
        for mail in taken:
            if isinstance(mail.content, int):
                self.nodes[number].report(mail.content)
                continue
            self._did.handled.append(self._spell(mail))
            if not drop and number in self.nodes:
                node = self.nodes[number]
                node.receive(mail.sender, mail.content)
                if node.fetch_from is not None and mail.snapshot is not None:
                    node.install(mail.snapshot)
        return bool(taken) and number in self.nodes

    # -- comparing

    def _compare(self, case: Case) -> None:
        numbers = [int(name) for name in case.names if name.isdecimal()]
        expected = read_transcript(case.expected, numbers[0] if numbers else 0)
        for number, shown in expected.nodes.items():
            did = self._did.of(number)
            if shown.configuration is not None:
                did.configuration = self.nodes[number].configuration()
            for field in Shown.__struct_fields__:
                wanted = getattr(shown, field)
                if wanted not in (None, []):
                    _check(case, f"{field} of {number}", getattr(did, field), wanted)
        if not self._messages:
            return
        if case.command in SENDING and case.expected not in ("", "ok"):
            _check(case, "messages", _counted(self._did.sent), _counted(expected.sent))
        if case.command == "deliver-msgs" and expected.handled:
            _check(case, "deliveries", _counted(self._did.handled), _counted(expected.handled))

    def _compare_log(self, case: Case) -> None:
        if case.expected != "ok":
            _check(case, "the log", self._only(case).log(), read_entries(case.expected))

    def _compare_states(self, case: Case) -> None:
        states = {number: node.raft_state() for number, node in self.nodes.items()}
        expected = read_raft_states(case.expected)
        assert expected or case.expected == "ok", f"{case.where}: no state in {case.expected!r}"
        _check(case, "states", {number: states[number] for number in expected}, expected)

    def _compare_status(self, case: Case) -> None:
        if case.expected != "ok":
            _check(case, "progress", self._only(case).status(), read_status(case.expected))

    def _spell(self, mail: Mail) -> str:
        return spell(self.nodes[mail.sender], mail)

    # -- naming

    def _named(self, case: Case) -> list[EtcdNode]:
        names = [name for name in case.names if name.isdecimal()]
        return [self.nodes[int(name)] for name in names] or list(self.nodes.values())

    def _only(self, case: Case) -> EtcdNode:
        return self.nodes[int(case.names[0])]


def spell(node: EtcdNode, mail: Mail) -> str:
    """Return a message of ``node`` in the trace's spelling."""
    way, message = (mail.sender, mail.to), mail.content
    assert not isinstance(message, int)
    kind, term = KINDS[type(message)], message.term
    match message:
        case PreVoteRequest(_, last_term, index) | VoteRequest(_, last_term, index, _):
            return spell_message(way, kind, (term, node.spell_term(index, last_term), index))
        case PreVoteReply(_, granted) | VoteReply(_, granted):
            return spell_message(way, kind, (term, 0, 0), hint=None if granted else 0)
        case AppendRequest(_, previous, index, commit, entries):
            name = (term, node.spell_term(index, previous), index)
            spelt = node.spell_entries(entries)
            return spell_message(way, kind, name, commit=commit, entries=spelt)
        case AppendAccepted(_, matched):
            return spell_message(way, kind, (term, 0, matched))
        case AppendRejected(_, rejected, hint_term, hint):
            name = (term, node.spell_term(hint, hint_term), rejected)
            return spell_message(way, kind, name, hint=hint)
        case Heartbeat(_, commit):
            return spell_message(way, kind, (term, 0, 0), commit=commit)
        case _:
            return spell_message(way, kind, (term, 0, 0))


def _counted(messages: list[str]) -> Counter[str]:
    """Count messages, without heartbeats, and without answers that only name a term.

    Acknowledgements are cumulative, so of those that one node gives another in
    one directive the highest stands for all: ours come when the disk reports,
    theirs one for each append.
    """
    counted: Counter[str] = Counter()
    highest: dict[str, int] = {}
    for message in messages:
        if "MsgHeartbeat" in message:
            continue
        if found := ACKNOWLEDGEMENT.fullmatch(message):
            highest[found[1]] = max(highest.get(found[1], 0), int(found[2]))
        else:
            counted[message] += 1
    counted.update(f"{way} acknowledges {index}" for way, index in highest.items() if index)
    return counted


def _check(case: Case, what: str, ours: object, expected: object) -> None:
    if isinstance(ours, Counter) and isinstance(expected, Counter):
        extra, missing = sorted((ours - expected).elements()), sorted((expected - ours).elements())
        if extra or missing:
            outcome = f"ours only {extra}, missing {missing}"
            raise DisagreementError(case.where, what, outcome)
    elif ours != expected:
        raise DisagreementError(case.where, what, f"ours {ours}, expected {expected}")


def _tick(node: EtcdNode, count: int) -> None:
    for _ in range(count):
        node.step(Tick(1))


def _each(nodes: list[EtcdNode], do: Callable[[EtcdNode], object]) -> None:
    for node in nodes:
        do(node)
