"""Bugs of giving and getting snapshots, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

_INSTALLING: Final = "raftlog.service.installing"
_TESTS: Final = ("tests/service/test_installing.py",)

INSTALL_MUTANTS: Final = (
    Mutant(
        "installed before its files are durable",
        "raftlog.storage.snapshot_store",
        (
            (
                "        self._file.sync()\n        self.close()\n",
                "        self.close()\n",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "what a peer has sent counts for the log that was here",
        "raftlog.storage.snapshot_store",
        (('_PEERS: Final = ".peer"\n', '_PEERS: Final = ""\n'),),
        tests=_TESTS,
    ),
    Mutant(
        "log begun anew before the snapshot is here",
        _INSTALLING,
        (
            (
                "        fetch.manifest = manifest\n",
                (
                    "        fetch.manifest = manifest\n"
                    "        self._keeping.snapshot_fetched(manifest.base, "
                    "manifest.configuration)\n"
                ),
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "late snapshot takes back what was acknowledged (Raft 7)",
        "raftlog.raft.listening",
        (("            if self.log.has(base):\n", "            if base.index < 0:\n"),),
        tests=("tests/raft/test_snapshots.py",),
    ),
    Mutant(
        "state of a snapshot that the log has not reached",
        _INSTALLING,
        (
            (
                (
                    "elif ready.snapshot.index <= min(replica.core.commit, "
                    "replica.store.durable_end.index):\n"
                ),
                "elif ready is not None:\n",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "piece of another snapshot taken for one of this",
        _INSTALLING,
        (
            (
                "return same and not self.busy and self.snapshot in",
                "return same or self.snapshot in",
            ),
        ),
        tests=_TESTS,
    ),
    Mutant(
        "follower that commits wait for is kept waiting",
        "raftlog.raft.leader",
        ((" and progress.match >= enough and progress.answers\n", " and progress.answers\n"),),
        tests=("tests/node/test_pace.py",),
    ),
    Mutant(
        "a start goes on from the oldest snapshot",
        "raftlog.service.snapshot",
        (
            (
                "    for index in store.indexes(fetched=True):\n",
                "    for index in reversed(store.indexes(fetched=True)):\n",
            ),
        ),
    ),
)
