"""Which lost writes may be missed when: what shows, on victims; silently, within the atlas."""

from random import Random

import pytest

from chaos.check.violation import Violation
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.faults import DAMAGE, Fault
from chaos.sim.lost_writes import LostWrites, is_unit
from chaos.sim.old_backups import OldBackups
from chaos.sim.operator import Operator
from chaos.sim.process import Machine
from chaos.sim.swarm import draw_config
from raftlog.base.writes import HardState
from tests.sim.test_planted import leader_of, pass_time, quiet_cluster
from tests.sim.test_wiped import append

MARK = f"{SHARD}/durable.mark"
HARD_STATE = f"{SHARD}/hard.state"


class Struck:
    """Three nodes, one of which has a disk that loses what it is told to lose."""

    def __init__(self) -> None:
        self.cluster: Cluster = quiet_cluster(watched=True, strikes=Fault.LOST_WRITE)
        leader = leader_of(self.cluster)
        for machine in self.cluster.machines.values():
            machine.victim = False
        # A leader acknowledges to nobody.
        self.victim = next(each for each in self.cluster.up() if each is not leader)
        self.victim.victim = True
        self.striker = LostWrites(self.cluster, Random(1))
        OldBackups(self.cluster, Random(1))  # turned away, it comes back as new
        operator = Operator(self.cluster, Random(1))
        self.cluster.on_renewed = operator.invite

    def loses(self, *starts: str) -> None:
        """Lose what is written to some files from now on."""
        disk = self.striker._disk_of(self.victim)
        disk.takes = lambda path, _: path.startswith(starts)

    def loses_one_unit(self) -> None:
        """Lose the next unit of the log."""
        disk = self.striker._disk_of(self.victim)

        def takes(path: str, operation: tuple[str, int, bytes, int]) -> bool:
            if not is_unit(path, operation):
                return False
            disk.takes = None
            return True

        disk.takes = takes

    def cut_power(self) -> int:
        """Cut the victim's power; return where its log ends when it starts again."""
        self.cluster.end(self.victim, CrashKind.LOSE)
        self.cluster.start(self.victim)
        assert self.victim.process is not None
        return self.victim.process.replica.store.end.index

    def vote_of(self, machine: Machine) -> HardState:
        """Return what is on its disk, as far as was confirmed."""
        return self.cluster.observer.durable_state(machine.node).hard_state

    def end_of(self, machine: Machine) -> int:
        """Return where its log ends, as far as was confirmed."""
        return len(self.cluster.observer.durable_log(machine.node))

    @property
    def hides(self) -> bool:
        """Whether something would be gone that nothing on the disk tells of."""
        return self.striker._disk_of(self.victim).hides


@pytest.fixture
def struck() -> Struck:
    """Three nodes, one of which loses writes."""
    return Struck()


def test_a_unit_that_later_ones_speak_of_is_damage_and_is_repaired(struck: Struck) -> None:
    struck.loses_one_unit()
    append(struck.cluster)
    assert struck.cluster.marks["writes lost"] == 1
    assert not struck.hides
    end = struck.end_of(struck.victim)
    assert struck.cut_power() == end, "damage counts as present"
    assert struck.cluster.marks["lost writes found"] == 1
    assert struck.cluster.marks["logs that ended earlier"] == 0
    pass_time(struck.cluster)
    assert struck.victim.process is not None
    assert struck.victim.process.replica.store.faulty_count == 0


def test_the_last_units_and_their_marks_are_taken_back_and_peers_find_that_out(
    struck: Struck,
) -> None:
    """They remember the numbers of the units that it has acknowledged."""
    before, name = struck.end_of(struck.victim), struck.victim.id
    struck.loses(f"{SHARD}/log/", MARK)
    append(struck.cluster)
    assert struck.hides
    assert struck.cut_power() == before
    assert struck.cluster.marks["logs that ended earlier"] == 1
    pass_time(struck.cluster, 10)
    assert struck.cluster.marks["lost writes found out"] == 1
    assert struck.victim.id != name
    assert struck.end_of(struck.victim) == struck.end_of(leader_of(struck.cluster))


def test_nothing_is_taken_back_silently_while_somebody_is_away(struck: Struck) -> None:
    """What the victim has is on two disks only: without it, it would be lost. So it landed."""
    struck.loses(f"{SHARD}/log/", MARK)
    away = next(
        each
        for each in struck.cluster.up()
        if each is not struck.victim and each is not leader_of(struck.cluster)
    )
    struck.cluster.end(away, CrashKind.KEEP)
    append(struck.cluster)
    end = struck.end_of(struck.victim)
    assert struck.cut_power() == end
    assert struck.cluster.marks["lost writes that landed"] == 1
    assert struck.cluster.marks["logs that ended earlier"] == 0


def test_a_killed_process_finds_everything_in_the_cache(struck: Struck) -> None:
    struck.loses(f"{SHARD}/log/", MARK)
    append(struck.cluster)
    end = struck.end_of(struck.victim)
    struck.cluster.end(struck.victim, CrashKind.KEEP)
    struck.cluster.start(struck.victim)
    assert struck.victim.process is not None
    assert struck.victim.process.replica.store.end.index == end
    assert struck.victim.process.replica.store.faulty_count == 0


def transfer(cluster: Cluster) -> None:
    """Let another one lead, in a new term."""
    process = leader_of(cluster).process
    assert process is not None
    process.replica.transfer()
    pass_time(cluster)
    append(cluster)
    pass_time(cluster)


def test_a_term_is_forgotten_whose_leader_was_elected_by_others(struck: Struck) -> None:
    """Whoever asks for votes in that term has no majority to win."""
    cluster, victim = struck.cluster, struck.victim
    struck.loses(SHARD)
    cut_off = [(victim.node, other) for other in cluster.nodes if other != victim.node]
    cluster.network.block([*cut_off, *((to, sender) for sender, to in cut_off)])
    transfer(cluster)
    cluster.network.block([])
    pass_time(cluster)
    term = struck.vote_of(victim).term
    assert term == struck.vote_of(leader_of(cluster)).term
    assert struck.hides
    struck.cut_power()
    assert cluster.marks["votes taken back"] == 1
    assert struck.vote_of(victim).term < term
    pass_time(cluster, 10)
    assert struck.vote_of(victim).term == struck.vote_of(leader_of(cluster)).term


def test_a_vote_that_was_needed_is_not_forgotten(struck: Struck) -> None:
    """Else who has not voted yet, and who forgot, could elect another one in the same term."""
    cluster, victim = struck.cluster, struck.victim
    struck.loses(SHARD)
    leader = leader_of(cluster)
    cluster.end(leader, CrashKind.KEEP)
    pass_time(cluster)
    cluster.start(leader)
    append(cluster)
    pass_time(cluster)
    before = struck.vote_of(victim)
    assert before.vote is not None
    assert struck.hides
    struck.cut_power()
    assert cluster.marks["votes taken back"] == 0
    assert struck.vote_of(victim) == before


def test_a_term_that_is_older_than_the_log_stops_the_node(struck: Struck) -> None:
    """It has perhaps forgotten a vote, too; it comes back as new."""
    cluster, victim = struck.cluster, struck.victim
    struck.loses(HARD_STATE)
    cut_off = [(victim.node, other) for other in cluster.nodes if other != victim.node]
    cluster.network.block([*cut_off, *((to, sender) for sender, to in cut_off)])
    transfer(cluster)
    cluster.network.block([])
    pass_time(cluster)
    assert struck.hides
    before = victim.id
    cluster.end(victim, CrashKind.LOSE)
    cluster.start(victim)
    assert victim.process is None
    assert cluster.marks["refused to start"] == 1
    pass_time(cluster)
    assert victim.process is not None
    assert victim.id != before


def test_one_lost_copy_of_a_vote_takes_nothing_back(struck: Struck) -> None:
    """The other one is newer."""
    disk = struck.striker._disk_of(struck.victim)
    for at in (0, 4096):
        disk.confirms(HARD_STATE, ("write", at, b"", 1), lost=True)
        assert disk.hides_votes == bool(at)
    disk.confirms(HARD_STATE, ("write", 0, b"", 2), lost=False)
    assert not disk.hides_votes


def test_two_cuts_in_a_row_may_be_lost(struck: Struck) -> None:
    """The segment is as it was before both; the mark repeats both."""
    disk = struck.victim.disk
    path = next(path for path in disk.paths() if path.endswith(".seg"))
    file = disk.files().open(path)
    before = len(disk.content(path).rstrip(b"\0"))

    def cut(size: int) -> None:
        whole = file.size()
        file.truncate(size)
        file.allocate(whole)
        file.sync()

    struck.loses(f"{SHARD}/log/")
    cut(1_000)
    cut(500)
    assert before > 1_000
    assert struck.striker._disk_of(struck.victim).loses_cut
    assert disk.has_lost
    other = disk.fork()
    for each in (disk, other):
        each.settle(lost=each is disk)
        each.crash(Random(1), CrashKind.LOSE)
        end = len(each.content(path).rstrip(b"\0"))
        assert end == before if each is disk else end <= 500


def test_seeds_that_lose_writes_have_no_other_damage_and_lose_nothing_else() -> None:
    """Of what is damaged twice, or on two disks, a majority need not have a good copy."""
    losing = [
        config for config in map(draw_config, range(500)) if Fault.LOST_WRITE in config.periods_ns
    ]
    apart = {Fault.MEMBERS, Fault.WIPED, Fault.OLD_BACKUP, Fault.MAJORITY_LOST, Fault.REBOOT}
    assert len(losing) > 20
    for config in losing:
        assert not (DAMAGE | apart) & config.periods_ns.keys()
        assert 0 < 2 * config.victims < config.nodes
        assert not config.heal_majority
        assert not config.os_cache


def test_who_is_turned_away_though_it_forgot_nothing_is_a_finding(struck: Struck) -> None:
    """A gate that refuses a good replica takes it out of the cluster."""
    with pytest.raises(Violation, match="forgot nothing"):
        struck.cluster.on_rolled_back(struck.victim)


def test_when_the_faults_end_what_shows_is_found_by_who_runs(struck: Struck) -> None:
    """The cache is dropped; a look through the disk finds it."""
    struck.loses_one_unit()
    append(struck.cluster)
    struck.striker.end()
    assert not struck.victim.disk.has_lost
    process = struck.victim.process
    assert process is not None
    scrubber = process.replica.upkeep.scrubber
    scrubber.scrub_now()
    pass_time(struck.cluster, 10)
    assert scrubber.found == 1
    assert process.replica.store.faulty_count == 0
