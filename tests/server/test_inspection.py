"""Looking at a data directory: every damage is found, nothing is changed."""

from pathlib import Path

import pytest
from msgspec import structs

from raftlog.base.entry import HEADER_BYTES, Entry, EntryKind, seal
from raftlog.base.errors import DamagedLog, DirectoryUnformatted, Refused, StorageFailed
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.limits import BLOCK_BYTES, MIB
from raftlog.base.writes import WriteEntries
from raftlog.node.recollection import refuse_older_term
from raftlog.server.finding import Finding
from raftlog.server.inspection import ReadOnlyFiles, entries_of, verify_directory
from raftlog.storage.configurations import MEMBERS, ConfigurationRow, write_rows
from raftlog.storage.directory import form_cluster
from raftlog.storage.durable_mark import DurableMark, claim_done
from raftlog.storage.files import OsFiles
from raftlog.storage.log_store import LogStore, StoreOptions

ENTRIES = 40
BODY = b"a body of a hundred bytes ".ljust(100, b".")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with entry 1 and 39 more in 39 write units, stopped cleanly."""
    path = tmp_path / "n1"
    form_cluster({NodeId("n1"): path})
    append(path, ENTRIES - 1)
    return path


def append(
    path: Path,
    count: int,
    segment_bytes: int = 8 * MIB,
    size: int = 100,
    term: Term = Term(1),  # noqa: B008  (it is a number)
) -> None:
    """Append ``count`` entries to shard 0 and stop cleanly."""
    options = StoreOptions(segment_bytes=segment_bytes)
    store = LogStore.open(OsFiles(), str(path / "shards/0"), options)
    for number in range(count):
        end = store.end
        entry = seal(
            EntryKind.NOOP, term, Index(end.index + 1), end.checksum, [BODY.ljust(size, b".")]
        )
        plan = store.plan([WriteEntries(WriteNumber(number + 1), None, (entry,))], Index(1))
        plan.perform()
        store.complete(plan)
    closing = store.plan_close()
    closing.perform()
    store.complete(closing)


def segments(path: Path) -> list[Path]:
    """Return the segment files of shard 0."""
    return sorted((path / "shards/0/log").glob("*.seg"))


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def verdicts(path: Path) -> list[tuple[str, str]]:
    """Return file name and verdict of each finding."""
    (shard,) = verify_directory(str(path)).shards
    return [(Path(finding.file).name, finding.verdict) for finding in shard.findings]


def test_a_good_directory_is_described(directory: Path) -> None:
    """Without a finding."""
    report = verify_directory(str(directory))

    (shard,) = report.shards
    assert (report.node, report.is_damaged, shard.findings) == ("n1", False, ())
    assert (shard.first, shard.last, shard.entries) == (1, ENTRIES, ENTRIES)
    assert (shard.durable, shard.last_term, shard.term) == (ENTRIES, 1, 1)


@pytest.mark.long
def test_every_damaged_entry_is_found(directory: Path) -> None:
    """One bit anywhere in a promised entry, wherever it lies in the log."""
    (segment,) = segments(directory)
    good = segment.read_bytes()
    offset = 0
    for number in range(ENTRIES - 1):
        offset = good.index(BODY, offset + 1)
        flip(segment, offset + 7)

        report = verify_directory(str(directory))

        assert report.is_damaged
        assert f"entries {number + 2} to {number + 2} are bad" in report.shards[0].findings[0].what
        flip(segment, offset + 7)
    assert not verify_directory(str(directory)).is_damaged


def test_what_lies_behind_the_watermark_is_only_unfinished(directory: Path) -> None:
    """A write that a power cut tore: nobody was promised it, and the next start cuts it."""
    (segment,) = segments(directory)
    with segment.open("r+b") as file:
        data = file.read()
        file.seek(data.rindex(BODY) + len(BODY))
        file.write(b"half a frame")

    assert verdicts(directory) == [(segment.name, "unfinished")]


def test_what_is_good_of_a_torn_write_is_unfinished_too(directory: Path) -> None:
    """It was synced as one, so nobody was promised a part: the next start cuts all of it."""
    (segment,) = segments(directory)
    mark = directory / "shards/0/durable.mark"
    before = mark.read_bytes()
    store = LogStore.open(OsFiles(), str(directory / "shards/0"), StoreOptions())
    entries: list[Entry] = []
    end = store.end
    for _ in range(3):
        index = Index(end.index + 1)
        entries.append(seal(EntryKind.NOOP, Term(1), index, end.checksum, [BODY]))
        end = entries[-1].end
    plan = store.plan([WriteEntries(WriteNumber(1), None, tuple(entries))], Index(1))
    plan.perform()
    store.complete(plan)
    store.plan_close().perform()
    mark.write_bytes(before)
    flip(segment, segment.read_bytes().rindex(BODY))

    bad, torn = verify_directory(str(directory)).shards[0].findings
    assert (bad.verdict, torn.verdict) == ("unfinished", "unfinished")
    assert torn.what == f"entries {ENTRIES + 1} to {ENTRIES + 3} are of a write that did not end"
    assert (
        LogStore.open(OsFiles(), str(directory / "shards/0"), StoreOptions()).end.index == ENTRIES
    )


@pytest.mark.parametrize("count", [2, 3])
def test_a_branch_that_a_disk_brought_back_is_damage(directory: Path, count: int) -> None:
    """Each frame of it is good, and they form one chain: only the mark tells (ruling 16)."""
    (segment,) = segments(directory)
    good = segment.read_bytes()
    store = LogStore.open(OsFiles(), str(directory / "shards/0"), StoreOptions())
    kept = ENTRIES - 2
    previous = next(entry for entry in entries_of(str(directory), 0, kept, kept))
    assert isinstance(previous, Entry)
    end, entries = previous.end, []
    for _ in range(count):
        entries.append(
            seal(EntryKind.NOOP, Term(1), Index(end.index + 1), end.checksum, [b"other"])
        )
        end = entries[-1].end
    plan = store.plan([WriteEntries(WriteNumber(1), Index(kept), tuple(entries))], Index(1))
    plan.perform()
    store.complete(plan)
    closing = store.plan_close()
    closing.perform()
    segment.write_bytes(good)

    (shard,) = verify_directory(str(directory)).shards

    (finding,) = shard.findings
    assert (finding.verdict, shard.last) == ("damage", kept)
    assert finding.what == f"ends with entry {kept}, was durable up to {kept + count}"


def opens(directory: Path) -> bool:
    """Whether a store would open here."""
    try:
        LogStore.open(OsFiles(), str(directory / "shards/0"), StoreOptions())
    except DamagedLog:
        return False
    return True


def test_another_log_than_the_promised_one_is_damage(directory: Path) -> None:
    """Each frame is good; a start refuses it."""
    mark = DurableMark.open(OsFiles(), str(directory / "shards/0/durable.mark"))
    newest = mark.newest
    assert newest is not None
    for _ in range(2):
        mark.write(claim_done(newest.unit, structs.replace(newest.end, checksum=1)))
    mark.sync()
    mark.close()

    (finding,) = verify_directory(str(directory)).shards[0].findings
    assert finding.what == f"entry {ENTRIES} is not the one that was promised"
    assert finding.verdict == "damage"
    assert not opens(directory)


def test_a_term_that_is_older_than_the_log_is_damage(directory: Path) -> None:
    """A later term was lost, and perhaps a vote in it; a start refuses it."""
    append(directory, 1, term=Term(2))

    (finding,) = verify_directory(str(directory)).shards[0].findings
    assert (Path(finding.file).name, finding.verdict) == ("hard.state", "damage")
    assert finding.what == f"knows no term after 1, but entry {ENTRIES + 1} is of term 2"
    with pytest.raises(DamagedLog):
        refuse_older_term(LogStore.open(OsFiles(), str(directory / "shards/0"), StoreOptions()))


@pytest.mark.parametrize(("index", "offset"), [(ENTRIES, 1), (ENTRIES + 1, 0)])
def test_a_configuration_that_the_log_has_lost_is_damage(
    directory: Path, index: int, offset: int
) -> None:
    """Who may vote is not known: a start refuses it. What lies in the log is none."""
    (last,) = entries_of(str(directory), 0, ENTRIES, ENTRIES)
    assert isinstance(last, Entry)
    folder = str(directory / "shards/0")
    row = ConfigurationRow(Index(ENTRIES), last.checksum, b"", written=True)
    write_rows(OsFiles(), folder, [row])
    assert not verify_directory(str(directory)).is_damaged

    lost = ConfigurationRow(Index(index), last.checksum + offset, b"", written=True)
    write_rows(OsFiles(), folder, [structs.replace(lost, written=False)])
    assert not verify_directory(str(directory)).is_damaged, "it was never there"
    write_rows(OsFiles(), folder, [lost])
    (finding,) = verify_directory(str(directory)).shards[0].findings
    assert (Path(finding.file).name, finding.verdict) == (MEMBERS, "damage")
    assert finding.what == f"names entry {index}, which the log has no more"
    assert not opens(directory)


def test_configurations_that_can_not_be_read_are_damage(directory: Path) -> None:
    """In neither copy."""
    (directory / "shards/0" / MEMBERS).write_bytes(bytes(2 * BLOCK_BYTES))

    assert verdicts(directory) == [(MEMBERS, "damage")]
    assert not opens(directory)


def test_a_lost_tail_is_damage(directory: Path) -> None:
    """The mark says that it was durable (ruling 2)."""
    (segment,) = segments(directory)
    with segment.open("r+b") as file:
        file.truncate(file.read().rindex(BODY) - HEADER_BYTES)

    report = verify_directory(str(directory))

    assert report.is_damaged
    assert f"ends with entry {ENTRIES - 1}, was durable up to {ENTRIES}" in str(report.shards)


def test_a_missing_segment_in_the_middle_is_damage(tmp_path: Path) -> None:
    """The segments before and behind it are good, each by itself."""
    path = tmp_path / "n1"
    form_cluster({NodeId("n1"): path})
    append(path, 12, size=2 * MIB)
    assert not verify_directory(str(path)).is_damaged
    assert len(segments(path)) >= 3
    segments(path)[1].unlink()

    assert verdicts(path) == [(segments(path)[1].name, "damage")]


def test_a_bad_segment_header_is_damage(directory: Path) -> None:
    """Recovery may know what was in it; a check says what it sees."""
    flip(segments(directory)[0], 9)

    assert (segments(directory)[0].name, "damage") in verdicts(directory)


def test_what_lies_behind_a_bad_header_is_judged_too(directory: Path) -> None:
    """The head of the first unit says the same; and heads say how far the log was durable."""
    (path,) = segments(directory)
    whole = verify_directory(str(directory)).shards[0]
    flip(path, 9)
    flip(path, path.read_bytes().index(BODY) + 5)
    (directory / "shards/0/durable.mark").write_bytes(bytes(2 * BLOCK_BYTES))
    report = verify_directory(str(directory)).shards[0]

    assert (report.first, report.last, report.entries) == (1, whole.last, whole.entries - 1)
    assert report.durable == whole.last - 1, "the last unit's head claims what is before it"
    header, entry = [each.what for each in report.findings if each.file == str(path)]
    assert header == "its header is bad"
    assert entry.startswith("entries 2 to 2 are bad")


@pytest.mark.parametrize(
    ("offsets", "verdict"),
    [((8,), "unfinished"), ((BLOCK_BYTES + 8,), "unfinished"), ((8, BLOCK_BYTES + 8), "damage")],
)
def test_hard_state_is_lost_only_with_both_copies(
    directory: Path, offsets: tuple[int, ...], verdict: str
) -> None:
    """Two equal copies in different blocks (ruling 1)."""
    for offset in offsets:
        flip(directory / "shards/0/hard.state", offset)

    assert verdicts(directory) == [("hard.state", verdict)]


@pytest.mark.parametrize("name", ["hard.state", "durable.mark"])
def test_a_missing_file_is_damage(directory: Path, name: str) -> None:
    """Neither is ever removed by a node."""
    (directory / "shards/0" / name).unlink()

    assert (name, "damage") in verdicts(directory)


def test_looking_changes_nothing(directory: Path) -> None:
    """The directory may be the only trace of a fault: also a torn tail stays as it is."""
    (segment,) = segments(directory)
    with segment.open("r+b") as file:
        file.seek(file.read().rindex(BODY) + len(BODY))
        file.write(b"half a frame")
    flip(directory / "shards/0/hard.state", 8)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for path in before:
        path.chmod(0o444)

    verify_directory(str(directory))
    list(entries_of(str(directory), 0, 1, None))

    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_read_only_file_cannot_be_written(directory: Path) -> None:
    """Not by a habit of the callers but by how it is opened."""
    file = ReadOnlyFiles().open(str(directory / "shards/0/hard.state"), create=True)

    with pytest.raises(StorageFailed):
        file.pwrite([b"x"], 0)
    file.close()
    with pytest.raises(StorageFailed):
        ReadOnlyFiles().open(str(directory / "none"), create=True)
    assert not (directory / "none").exists()


def test_entries_are_given_by_range(directory: Path) -> None:
    """For ``log dump --from --to``."""
    found = list(entries_of(str(directory), 0, 5, 7))

    assert all(isinstance(entry, Entry) for entry in found)
    assert [entry.index for entry in found if isinstance(entry, Entry)] == [5, 6, 7]
    assert list(entries_of(str(directory), 0, ENTRIES + 1, None)) == []


def test_a_damaged_entry_is_named_among_the_good_ones(directory: Path) -> None:
    """Its bytes are never shown as if they were good (storage.md, contract 3)."""
    (segment,) = segments(directory)
    data = segment.read_bytes()
    flip(segment, data.index(BODY, data.index(BODY) + 1) + 3)

    second, third, fourth = entries_of(str(directory), 0, 2, 4)

    assert isinstance(second, Entry)
    assert isinstance(third, Finding)
    assert isinstance(fourth, Entry)
    assert third.what == "entry 3 is damaged"


def test_a_directory_of_something_else_is_refused(tmp_path: Path, directory: Path) -> None:
    """With a typed error, and the same for a shard that is not there."""
    with pytest.raises(DirectoryUnformatted):
        verify_directory(str(tmp_path))
    with pytest.raises(Refused, match="has the shards 0 to 0, not 3"):
        list(entries_of(str(directory), 3, 1, None))
