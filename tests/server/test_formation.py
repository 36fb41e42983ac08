"""Forming a cluster: all directories together, or none (ruling 5)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from raftlog.base.errors import DirectoryFormatted, DirectoryRefused, DirectoryUnformatted
from raftlog.base.ids import ClusterId, NodeId
from raftlog.server.config import Config, load_config
from raftlog.server.formation import MARKER, form, refuse_interrupted
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.files import Files, OsFiles

NODES = ("n1", "n2", "n3")


class PowerCutError(Exception):
    """The machine went down."""


def config_of(directory: Path, text: str = "") -> Config:
    """Return a cluster of three below ``directory``."""
    lines = ["cluster: c", "data: data", "shards: 2", "nodes:"]
    for number, name in enumerate(NODES):
        peer, client = f"localhost:{2 * number + 1}", f"localhost:{2 * number + 2}"
        lines += [f"  {name}:", f"    listen: {{peer: '{peer}', client: '{client}'}}"]
    path = directory / "cluster.yml"
    path.write_text("\n".join(lines) + "\n" + text)
    return load_config(path)


def cut_after(count: int) -> object:
    """Return a formatter that is interrupted after ``count`` directories."""

    def formatter(directories: Mapping[NodeId, Path], *, shards: int, files: Files) -> ClusterId:
        some = dict(list(directories.items())[:count])
        if some:
            form_cluster(some, shards=shards, files=files)
        raise PowerCutError

    return formatter


def test_a_new_cluster_has_one_identity_and_all_voters_in_every_directory(tmp_path: Path) -> None:
    """Votes and acks are counted by (node, directory): the list must be the same everywhere."""
    config = config_of(tmp_path)

    assert form(config)

    identities = []
    for node, path in config.directories.items():
        directory = DataDirectory.open(path, expected_node=node)
        identities.append(directory.identity)
        directory.close()
    assert len({identity.cluster for identity in identities}) == 1
    assert len({identity.directory for identity in identities}) == 3
    assert len({identity.shards for identity in identities}) == 1
    assert [len(identity.shards) for identity in identities] == [2, 2, 2]
    assert not (config.run_directory / MARKER).exists()


def test_forming_again_changes_nothing(tmp_path: Path) -> None:
    """``cluster up`` asks at every start."""
    config = config_of(tmp_path)
    form(config)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "data").rglob("*.*"))}

    assert not form(config)

    after = {path: path.read_bytes() for path in sorted((tmp_path / "data").rglob("*.*"))}
    assert before == after


def test_one_wiped_directory_of_a_cluster_is_never_formatted(tmp_path: Path) -> None:
    """n2 was wiped; formatted again it would vote a second time in an old term (NATS #7038)."""
    config = config_of(tmp_path)
    form(config)
    wiped = config.directories[NodeId("n2")]
    (wiped / "node.meta").unlink()

    with pytest.raises(DirectoryFormatted, match=r"data/n2 are not formatted") as caught:
        form(config)

    assert "data/n1" in str(caught.value)
    assert "joins as a learner: raftlog node run --node n2 --join" in str(caught.value)
    assert not (wiped / "node.meta").exists()


@pytest.mark.parametrize("formatted", [0, 1, 2, 3])
def test_an_interrupted_formation_is_known_as_one(tmp_path: Path, formatted: int) -> None:
    """Wherever the power went, nothing was stored, and the text may say "remove"."""
    config = config_of(tmp_path)
    with pytest.raises(PowerCutError):
        form(config, formatter=cut_after(formatted))  # type: ignore[arg-type]

    with pytest.raises(DirectoryUnformatted, match="no node has ever started from it; remove"):
        form(config)
    with pytest.raises(DirectoryUnformatted, match="interrupted"):
        refuse_interrupted(config)


def test_the_marker_is_durable_before_the_first_directory_is_formatted(tmp_path: Path) -> None:
    """Else a power cut could leave formatted directories and no marker: a cluster by halves."""
    steps: list[str] = []

    class Watched(OsFiles):
        def sync_directory(self, path: str) -> None:
            steps.append(f"sync {Path(path).name}")
            super().sync_directory(path)

        def remove(self, path: str, *, gently: bool = False) -> None:
            steps.append(f"remove {Path(path).name}")
            super().remove(path, gently=gently)

    def formatter(directories: Mapping[NodeId, Path], *, shards: int, files: Files) -> ClusterId:
        assert directories
        assert shards
        assert isinstance(files, Watched)
        steps.append("format")
        return ClusterId("")

    form(config_of(tmp_path), Watched(), formatter)

    assert steps[-5:] == ["sync run", "sync data", "format", "remove forming", "sync run"]


def test_directories_of_two_clusters_are_refused(tmp_path: Path) -> None:
    """Their logs have nothing in common."""
    config = config_of(tmp_path)
    paths = config.directories
    form_cluster({NodeId("n1"): paths[NodeId("n1")]})
    form_cluster({NodeId(n): paths[NodeId(n)] for n in ("n2", "n3")})

    with pytest.raises(DirectoryRefused, match="different clusters"):
        form(config)


def test_directories_of_each_other_are_refused(tmp_path: Path) -> None:
    """A swap of two disks is seen before a node starts."""
    config = config_of(tmp_path)
    swapped = dict(zip(config.directories, reversed(config.directories.values()), strict=True))
    form_cluster(swapped)

    with pytest.raises(DirectoryRefused, match="belongs to node n3, not to n1"):
        form(config)
