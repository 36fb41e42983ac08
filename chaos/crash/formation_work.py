"""Formation: the directories of a new cluster, made together (ruling 5).

Whenever it is cut short, a directory is either formatted, with a whole log of one
entry, or it is not, and says so. Nobody starts from half of one; and a cluster of
which some directories are formatted is not formed again over their heads.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from chaos.crash.recording import Moment, Recording, demand
from chaos.sim.disk import SimDisk
from raftlog.base.errors import DirectoryFormatted, DirectoryUnformatted
from raftlog.base.ids import NodeId
from raftlog.base.writes import HardState
from raftlog.storage.directory import FIRST_TERM, DataDirectory, form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions

OPTIONS: Final = StoreOptions(segment_bytes=1024)


@dataclass(frozen=True)
class FormationPromise:
    """What must be found of a formation."""

    nodes: int
    shards: int
    formed: bool = False
    """Whether it was reported done."""

    @property
    def directories(self) -> dict[NodeId, str]:
        """Where each node's directory is."""
        return {NodeId(f"n{number}"): f"d{number}" for number in range(1, self.nodes + 1)}

    def form(self, disk: SimDisk, first_name: int) -> None:
        """Form the cluster."""
        names = iter(f"{number:032x}" for number in range(first_name, first_name + 99))
        form_cluster(
            self.directories,
            shards=self.shards,
            options=OPTIONS,
            files=disk.files(),
            draw=lambda: next(names),
        )

    def recover(self, disk: SimDisk) -> None:
        """Start every node that can be started."""
        for path in self.directories.values():
            self._start(disk, path)

    def _start(self, disk: SimDisk, path: str) -> bool:
        """Start a node on its directory; False if it is unformatted."""
        files = disk.files()
        try:
            directory = DataDirectory.open(path, files=files)
        except DirectoryUnformatted:
            return False
        directory.close()
        found = directory.shards()
        demand(f"{path} has {len(found)} shards", holds=len(found) == self.shards)
        for shard, membership in found:
            demand(f"{path}: {membership}", holds=len(membership.voters) == self.nodes)
            store = LogStore.open(files, directory.shard_path(shard), OPTIONS)
            good = store.end.index == 1 and not store.faulty_count
            demand(f"{path}: a new log that ends at {store.end}", holds=good)
            demand(f"{path}: {store.hard_state}", holds=store.hard_state == HardState(FIRST_TERM))
        return True

    def check(self, disk: SimDisk) -> int:
        """Start all, and form again."""
        before = disk.operations
        started = [self._start(disk, path) for path in self.directories.values()]
        operations = disk.operations - before
        demand("a cluster that was formed is not", holds=all(started) or not self.formed)
        try:
            self.form(disk, 100)
        except DirectoryFormatted:
            demand("an unformed cluster cannot be formed", holds=any(started))
            again = [self._start(disk, path) for path in self.directories.values()]
            demand("a refused formation has formatted something", holds=again == started)
        else:
            demand("a cluster was formed over another", holds=not any(started))
            self.recover(disk)
        return operations


def formation(seed: int, steps: int) -> list[Moment]:
    """Form a cluster; return every moment on the way. Its length is given, ``steps`` is not."""
    del steps
    random = Random(seed)
    disk = SimDisk()
    recording = Recording(disk, FormationPromise(random.randint(1, 3), random.randint(1, 2)))
    recording.what = "formation"
    recording.promise.form(disk, 1)
    recording.promise = replace(recording.promise, formed=True)
    recording.what = "formed"
    disk.files().sync_directory("d1")
    return recording.moments
