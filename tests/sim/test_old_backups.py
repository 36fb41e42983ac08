"""What may be put back when, and that a peer who remembers more turns it away (ruling 16)."""

from random import Random

import pytest

from chaos.sim.cluster import Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.faults import Fault
from chaos.sim.old_backups import OldBackups
from tests.sim.test_planted import leader_of, pass_time, quiet_cluster
from tests.sim.test_wiped import append


@pytest.fixture
def cluster() -> Cluster:
    """Three nodes that say hello."""
    return quiet_cluster(watched=True, strikes=Fault.OLD_BACKUP)


def backups(cluster: Cluster) -> OldBackups:
    """Return the strikes, with a copy that was made just now."""
    found = OldBackups(cluster, Random(3))
    found._strike()
    assert found._backup is not None
    return found


def test_an_old_directory_is_found_out_and_comes_back_as_a_new_one(cluster: Cluster) -> None:
    """Its peers remember what it has acknowledged since."""
    striking = backups(cluster)
    before = {machine.id for machine in cluster.machines.values()}
    while not cluster.marks["old backups put back"]:
        append(cluster)
        striking._strike()
        pass_time(cluster)
    pass_time(cluster)
    assert cluster.marks["old backups found out"] == 1
    assert all(machine.process is not None for machine in cluster.machines.values())
    assert len({machine.id for machine in cluster.machines.values()} - before) == 1


def test_nothing_is_put_back_while_somebody_is_away(cluster: Cluster) -> None:
    """Who is away may come back, and ask for a vote in a term in which one was given."""
    striking = backups(cluster)
    assert striking._backup is not None
    append(cluster)
    pass_time(cluster)
    assert striking._may_be_put_back(striking._backup) is not None
    away = next(
        each
        for each in cluster.machines.values()
        if each.node != striking._backup.of.node and each is not leader_of(cluster)
    )
    cluster.end(away, CrashKind.KEEP)
    assert striking._may_be_put_back(striking._backup) is None


def test_nothing_is_put_back_under_a_new_directory(cluster: Cluster) -> None:
    """It would be another node's."""
    striking = backups(cluster)
    assert striking._backup is not None
    machine = cluster.machines[striking._backup.of.node]
    cluster.end(machine, CrashKind.KEEP)
    cluster.renew(machine)
    cluster.start(machine)
    pass_time(cluster)
    assert striking._may_be_put_back(striking._backup) is None
