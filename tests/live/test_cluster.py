"""Who is a node of a cluster, who stands by, and what is between them; nothing is started."""

from pathlib import Path

import pytest

from chaos.live.cluster import LiveCluster
from raftlog.base.ids import NodeId
from raftlog.server.config import load_config

N1, N2, N3, N4 = (NodeId(f"n{number}") for number in (1, 2, 3, 4))


@pytest.fixture
def cluster(tmp_path: Path) -> LiveCluster:
    return LiveCluster(tmp_path, 3)


def test_one_more_stands_by(cluster: LiveCluster) -> None:
    assert cluster.names == [N1, N2, N3]
    assert cluster.spare is not None
    assert cluster.spare.node == N4
    assert [each.node for each in cluster.addresses] == cluster.names
    assert len(cluster.seeds) == 3


def test_members_go_round(cluster: LiveCluster) -> None:
    assert cluster.spare is not None
    cluster.admit(cluster.spare)
    assert cluster.names == [N1, N2, N3, N4]
    assert cluster.spare is None
    gone = cluster.nodes[N2]
    cluster.dismiss(gone)
    assert cluster.names == [N1, N3, N4]
    assert cluster.spare is gone
    cluster.admit(gone)
    assert cluster.names == [N1, N3, N4, N2]


def test_the_file_says_how_all_reach_each_other_by_their_links(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    for number, proxy in enumerate((*cluster.links.values(), *cluster.doors.values()), 1):
        proxy.address = f"127.0.0.1:{number}"
    path = tmp_path / "cluster.yml"
    for names in ([N1, N2, N3], [N1, N2, N3, N4]):
        path.write_text(cluster._config_text(names))
        config = load_config(path)
        assert list(config.nodes) == names
        for me in names:
            assert config.nodes[me].dial == {
                other: cluster.links[me, other].address for other in names if other != me
            }


def test_who_stands_by_proves_nothing(cluster: LiveCluster) -> None:
    """Nobody gets through to it, whatever is wrong or not."""
    pairs = {(N1, N2), (N2, N1), (N1, N3), (N3, N1)}
    assert set(cluster.links_of(N1)) == pairs
    assert len(cluster.proxies_of(N1)) == 5
    assert cluster.spare is not None
    cluster.admit(cluster.spare)
    assert set(cluster.links_of(N1)) == {*pairs, (N1, N4), (N4, N1)}
