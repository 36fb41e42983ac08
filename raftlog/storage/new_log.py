"""A log that no replica runs on: making one that never existed, writing to one by hand."""

from collections.abc import Sequence

from raftlog.base.entry import LOG_ORIGIN, Entry
from raftlog.base.ids import WriteNumber
from raftlog.base.writes import HardState, Write, WriteEntries
from raftlog.storage.configurations import MEMBERS
from raftlog.storage.durable_mark import DurableMark, claim_done
from raftlog.storage.files import Files
from raftlog.storage.hard_state import HardStateFile
from raftlog.storage.log_store import DURABLE_MARK, HARD_STATE, LOG, LogStore, StoreOptions


def create_log(
    files: Files,
    directory: str,
    options: StoreOptions,
    state: HardState,
    entries: Sequence[Entry],
) -> None:
    """Make a new log that begins with ``entries``, durably; leftovers are overwritten."""
    log = f"{directory}/{LOG}"
    files.make_directory(log)
    for name in files.list(log):
        files.remove(f"{log}/{name}")
    if files.exists(f"{directory}/{MEMBERS}"):  # what it names was in the log that is gone
        files.remove(f"{directory}/{MEMBERS}")
    HardStateFile.create(files, f"{directory}/{HARD_STATE}", state).close()
    mark = DurableMark.create(files, f"{directory}/{DURABLE_MARK}")
    mark.write(claim_done(0, LOG_ORIGIN))
    mark.sync()
    mark.close()
    files.sync_directory(log)
    files.sync_directory(directory)
    store = LogStore.open(files, directory, options)
    write_offline(store, [WriteEntries(WriteNumber(1), None, tuple(entries))])


def write_offline(store: LogStore, writes: Sequence[Write]) -> None:
    """Write to a log that no replica runs on, and close it. Returning means durable."""
    plan = store.plan(writes, store.commit_hint)
    plan.perform()
    store.complete(plan)
    close_offline(store)


def close_offline(store: LogStore) -> None:
    """Close a log that no replica runs on."""
    closing = store.plan_close()
    closing.perform()
    store.complete(closing)
