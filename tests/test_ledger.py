"""The ledger: a mapping that outlives its writer, and damage that is told and mended."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe import ledger as module
from degflow_pipe.errors import FileError
from degflow_pipe.ledger import Ledger, key_of

LINES = 4
"""Lines of a segment here, so that a few records fill several."""


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES", LINES)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """`scratch()`: a folder that is not there yet, also within a test of hypothesis."""
    root, count = tmp_path_factory.mktemp("ledgers"), iter(range(10**9))
    return lambda: root / str(next(count))


def content(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """What is in a ledger, by both ways to ask."""
    found = dict(ledger.records())
    assert found == {key: ledger.record(key) for key in ledger.every_key()}
    assert len(found) == len(ledger)
    assert all(key in ledger for key in found)
    return found


def written(folder: Path, records: dict[str, dict[str, Any]], numbers: bool = True) -> Path:
    with Ledger(folder, numbers) as ledger:
        for key, record in records.items():
            ledger.write(key, record)
    return folder


def segments(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def rows(count: int) -> dict[str, dict[str, Any]]:
    return {str(n): {"n": n, "name": f"photo{n}.png"} for n in range(count)}


KEYS = st.sampled_from([*"012345", "ingest", "ab" * 8])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab \n", max_size=3), inner)
    ),
    max_leaves=5,
)
RECORDS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
STEPS = st.lists(
    st.tuples(st.just("write"), KEYS, RECORDS)
    | st.tuples(st.just("remove"), KEYS, st.none())
    | st.tuples(st.just("reopen"), st.none(), st.none()),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_it_is_a_mapping_however_often_it_is_opened(
    steps: list[tuple[str, str, Any]], scratch: Callable[[], Path]
) -> None:
    folder, wanted = scratch(), {}
    ledger = Ledger(folder).__enter__()
    for step, key, record in steps:
        if step == "write":
            ledger.write(key, record)
            wanted[key] = record
        elif step == "remove":
            ledger.remove(key)
            wanted.pop(key, None)
        else:
            ledger.__exit__(None, None, None)
            assert content(Ledger(folder)) == wanted
            ledger = Ledger(folder).__enter__()
        assert content(ledger) == wanted
    ledger.__exit__(None, None, None)
    last = Ledger(folder)
    assert (content(last), last.damage) == (wanted, [])


def test_what_was_written_is_there_for_others_at_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        for count, (key, record) in enumerate(rows(9).items(), 1):
            ledger.write(key, record)
            assert content(Ledger(tmp_path / "l")) == rows(count)


def test_a_folder_that_is_not_there_is_an_empty_ledger_and_stays_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    assert (content(ledger), ledger.damage) == ({}, [])
    with ledger:
        ledger.remove("7")
    assert not (tmp_path / "l").exists()


def test_a_segment_holds_so_many_lines_and_another_is_begun(tmp_path: Path) -> None:
    folder = written(tmp_path / "l", rows(2 * LINES + 1))
    assert [p.name for p in segments(folder)] == [f"0000000{n}.jsonl" for n in range(3)]
    assert [len(p.read_bytes().splitlines()) for p in segments(folder)] == [LINES, LINES, 1]
    written(folder, {"more": {}})
    assert [len(p.read_bytes().splitlines()) for p in segments(folder)] == [LINES, LINES, 2]


def test_a_line_is_json_for_who_looks_at_it(tmp_path: Path) -> None:
    folder = written(tmp_path / "l", {"7": {"b": [1, None], "a": "é"}})
    (line,) = segments(folder)[0].read_bytes().splitlines()
    digest, place, key, record = line.split(b" ", 3)
    assert (len(digest), place, key) == (16, b"0", b"7")
    assert json.loads(record) == {"a": "é", "b": [1, None]}


@pytest.mark.parametrize("key", ["", "a b", "a\n", "é", "-", "a\0", "9" * 5000])
def test_a_key_that_no_line_can_hold_is_a_bug(tmp_path: Path, key: str) -> None:
    with Ledger(tmp_path / "l") as ledger, pytest.raises(ValueError, match="no key of a ledger"):
        ledger.write(key, {})


NAMES = st.text(min_size=1, max_size=9) | st.sampled_from(["-", "%2D", "--", "%-", "a" * 300])


@given(st.lists(NAMES))
def test_any_name_has_a_key_of_its_own(scratch: Callable[[], Path], names: list[str]) -> None:
    names += [name * 200 for name in names]
    records = {key_of(name): {"n": n} for n, name in enumerate(set(names))}
    assert content(Ledger(written(scratch(), records, numbers=False))) == records
    assert len(records) == len(set(names))


def test_the_same_words_give_the_same_bytes(
    tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    for name in "ab":
        written(tmp_path / name, rows(6))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_opening_a_whole_one_to_write_changes_nothing(
    tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    folder = written(tmp_path / "l", rows(6))
    before = tree(folder)
    with Ledger(folder):
        pass
    assert tree(folder) == before


def test_words_that_no_longer_count_go_and_the_others_stay(tmp_path: Path) -> None:
    folder = written(tmp_path / "l", rows(40))
    size = sum(p.stat().st_size for p in segments(folder))
    for _ in range(5):
        written(folder, rows(40))
    with Ledger(folder):  # it is written anew when it is next written to
        pass
    assert content(Ledger(folder)) == rows(40)
    assert Ledger(folder).damage == []
    now = sum(p.stat().st_size for p in segments(folder))
    assert now < 2.2 * size


def test_a_record_is_read_by_its_place_alone(tmp_path: Path) -> None:
    """All else of the file may be anything by then."""
    folder = written(tmp_path / "l", rows(LINES))
    ledger = Ledger(folder)
    path = segments(folder)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line if i == 2 else b"#" * len(line) for i, line in enumerate(lines)))
    assert ledger.record(2) == rows(3)["2"]
    with pytest.raises(FileError, match=r"00000000\.jsonl was written to while it was read"):
        ledger.record(1)
    with pytest.raises(FileError, match=r"00000000\.jsonl was written to while it was read"):
        dict(ledger.records())
    with pytest.raises(KeyError):
        ledger.record("9")


def test_a_record_that_is_exchanged_for_another_is_told(tmp_path: Path) -> None:
    """Of one length, and whole: by a writer that wrote the segment anew."""
    folder = written(tmp_path / "l", rows(2), numbers=False)
    ledger = Ledger(folder)
    shutil.rmtree(folder)
    written(folder, dict(reversed(rows(2).items())), numbers=False)
    with pytest.raises(FileError, match="was written to while it was read"):
        ledger.record(1)


# ---- writers that were killed


@pytest.mark.parametrize("count", [1, LINES, LINES + 2])
def test_half_a_line_was_never_written(tmp_path: Path, count: int) -> None:
    """Cut at every byte of the last line: no damage, and the next writer goes on."""
    folder = written(tmp_path / "whole", rows(count))
    last = segments(folder)[-1].read_bytes()
    begin = last[:-1].rfind(b"\n") + 1
    for end in range(begin, len(last)):
        cut = Path(shutil.copytree(folder, tmp_path / str(end)))
        segments(cut)[-1].write_bytes(last[:end])
        ledger = Ledger(cut)
        assert (ledger.damage, content(ledger)) == ([], rows(count - 1)), end
        written(cut, {str(count - 1): rows(count)[str(count - 1)]})
        assert segments(cut)[-1].read_bytes() == last, end


def test_who_writes_does_not_write_through_a_link(tmp_path: Path) -> None:
    """It would cut somebody's file."""
    (tmp_path / "l").mkdir()
    (tmp_path / "somebodys").write_text("deadbeef")
    (tmp_path / "l" / "00000000.jsonl").symlink_to(tmp_path / "somebodys")
    with pytest.raises(FileError, match=r"00000000\.jsonl"), Ledger(tmp_path / "l"):
        pass
    assert (tmp_path / "somebodys").read_text() == "deadbeef"


# ---- damage


def mended(folder: Path) -> dict[str, dict[str, Any]]:
    """What is left when a writer has mended it; from then on it is whole."""
    with Ledger(folder) as ledger:
        assert ledger.damage == []
        left = content(ledger)
        ledger.write("new", {"n": 1})
    again = Ledger(folder)
    assert again.damage == []
    assert content(again) == {**left, "new": {"n": 1}}
    return left


def flips(data: bytes) -> Iterator[bytes]:
    """Every byte changed, by a bit that takes turns; blanks and newlines by each of their bits."""
    for i, byte in enumerate(data):
        for bit in range(8) if byte in b" \n" else [i % 8]:
            yield data[:i] + bytes([byte ^ 1 << bit]) + data[i + 1 :]


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_every_flipped_byte_is_told_and_costs_two_records_at_most(
    tmp_path: Path, segment: int
) -> None:
    """Two where it was the end of a line. What lies behind is still read."""
    wanted = rows(2 * LINES + 2)
    folder = written(tmp_path / "l", wanted)
    path = segments(folder)[segment]
    whole = path.read_bytes()
    for damaged in flips(whole):
        path.write_bytes(damaged)
        ledger = Ledger(folder)
        (told,) = ledger.damage
        assert told.startswith(f"{path} is damaged at ")
        found = content(ledger)
        assert found.items() <= wanted.items()
        assert 1 <= len(wanted) - len(found) <= 2
    assert mended(folder) == found


@pytest.mark.parametrize("segment", [0, 1])
def test_a_closed_segment_that_is_cut_is_told(tmp_path: Path, segment: int) -> None:
    wanted = rows(2 * LINES + 2)
    folder = written(tmp_path / "l", wanted)
    path = segments(folder)[segment]
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        ledger = Ledger(folder)
        assert ledger.damage[0].startswith(f"{path} is damaged"), end
        found = content(ledger)
        kept = whole[:end].count(b"\n")
        assert len(found) == len(wanted) - LINES + kept
    assert mended(folder) == found


@pytest.mark.parametrize("gone", [[0], [1], [0, 1], [0, 1, 2]])
def test_segments_that_are_gone_are_told_and_what_is_there_is_read(
    tmp_path: Path, gone: list[int]
) -> None:
    wanted = rows(3 * LINES + 1)
    folder = written(tmp_path / "l", wanted)
    for number in gone:
        (folder / f"{number:08d}.jsonl").unlink()
    ledger = Ledger(folder)
    assert ledger.damage == [f"{folder}/{n:08d}.jsonl is missing" for n in gone]
    left = {k: v for k, v in wanted.items() if int(k) // LINES not in gone}
    assert content(ledger) == left
    assert mended(folder) == left


def test_a_number_far_from_the_others_is_refused(tmp_path: Path) -> None:
    """Else a writer would write a million segments to fill the gap."""
    folder = written(tmp_path / "l", rows(1))
    (folder / "00999999.jsonl").write_bytes(b"")
    with pytest.raises(FileError, match=r"00999999\.jsonl is damaged: .*: delete it"):
        Ledger(folder)
    (folder / "00999999.jsonl").unlink()
    assert content(Ledger(folder)) == rows(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines, lines[0]],
        lambda lines: [lines[0], *lines],
        lambda lines: [*lines, b"\n"],
        lambda lines: [b"\n" * 9, *lines],
        lambda lines: [*lines, bytes(100)],
        lambda lines: [*lines, b"no line"],
        lambda lines: [*lines, b"f" * 17],
        lambda lines: [bytes(len(b"".join(lines)))],
        lambda lines: [lines[0].replace(b" 0 ", b" 00 "), *lines[1:]],
    ],
)
def test_lines_that_are_gone_moved_repeated_or_foreign_are_told(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    wanted = rows(3)
    folder = written(tmp_path / "l", wanted)
    (path,) = segments(folder)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    ledger = Ledger(folder)
    assert [told.partition(" at ")[0] for told in ledger.damage] == [f"{path} is damaged"]
    found = content(ledger)
    assert found.items() <= wanted.items()
    assert mended(folder) == found


def test_a_line_of_another_segment_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "l", rows(2 * LINES))
    first, second = segments(folder)
    second.write_bytes(first.read_bytes())
    ledger = Ledger(folder)
    assert ledger.damage == [f"{second} is damaged at line 1 and {LINES - 1} others"]
    assert content(ledger) == rows(LINES)
    assert mended(folder) == rows(LINES)


def test_a_word_that_was_taken_back_does_not_come_again_when_its_segment_is_mended(
    tmp_path: Path,
) -> None:
    """A writer that is stopped leaves such words."""
    folder = written(tmp_path / "l", rows(LINES))
    with pytest.raises(InterruptedError), Ledger(folder) as ledger:
        for key in "012":
            ledger.remove(key)
        ledger.write("4", {"n": 4})
        raise InterruptedError
    path = segments(folder)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"#" + lines[3][1:]]))
    assert Ledger(folder).damage
    assert mended(folder) == {"3": rows(4)["3"]}


def test_no_more_of_a_segment_is_read_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "l", rows(3))
    (path,) = segments(folder)
    with path.open("ab") as file:
        file.truncate(10 * path.stat().st_size)
    monkeypatch.setattr(module, "SEGMENT_LIMIT", 2 * len(path.read_bytes().rstrip(b"\0")))
    ledger = Ledger(folder)
    assert ledger.damage == [f"{path} is damaged at its end"]
    assert content(ledger) == rows(3)
    assert mended(folder) == rows(3)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), number=st.integers(0, 3))
def test_any_bytes_for_a_segment_are_read_told_and_mended(
    data: bytes, number: int, scratch: Callable[[], Path]
) -> None:
    wanted = rows(2 * LINES + 1)
    folder = written(scratch(), wanted)
    (folder / f"{number:08d}.jsonl").write_bytes(data)
    left = {k: v for k, v in wanted.items() if int(k) // LINES != number}
    ledger = Ledger(folder)
    assert content(ledger) == left
    assert mended(folder) == left


def test_a_key_of_thousands_of_digits_is_damage(tmp_path: Path) -> None:
    """Python refuses to make a number of it."""
    folder = written(tmp_path / "l", {"7": {}})
    text = b"1 %b {}" % (b"1" * 5000)
    digest = hashlib.sha256(b"0 " + text).hexdigest()[:16]
    with segments(folder)[0].open("ab") as file:
        file.write(b"%b %b\n" % (digest.encode(), text))
    assert Ledger(folder).damage and Ledger(folder).every_key() == ["7"]
    assert mended(folder) == {"7": {}}


def test_what_a_stranger_sealed_and_is_no_mapping_is_told_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "l"
    folder.mkdir()
    text = b"0 7 [1, 2]"
    digest = hashlib.sha256(b"0 " + text).hexdigest()[:16]
    (folder / "00000000.jsonl").write_bytes(b"%b %b\n" % (digest.encode(), text))
    ledger = Ledger(folder)
    with pytest.raises(FileError, match=r"damaged at 7: not a mapping .*: delete it"):
        ledger.record(7)


def test_bytes_do_not_tell_how_often_writers_were_stopped(tmp_path: Path) -> None:
    wanted = written(tmp_path / "whole", rows(2 * LINES))
    folder = tmp_path / "l"
    for stop in (2, LINES, LINES + 1):
        with pytest.raises(InterruptedError), Ledger(folder) as ledger:
            for key, record in rows(stop).items():
                if key not in ledger:
                    ledger.write(key, record)
            raise InterruptedError
    with Ledger(folder) as ledger:
        for key, record in reversed(rows(2 * LINES).items()):
            if key not in ledger:
                ledger.write(key, record)
    found, whole = ([path.read_bytes() for path in segments(each)] for each in (folder, wanted))
    assert found == whole


def test_a_segment_is_closed_before_it_is_too_long_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    every = {str(n): {"text": "x" * 150} for n in range(6)}
    folder = written(tmp_path / "l", every)
    assert len(segments(folder)) == 6
    assert content(Ledger(folder)) == every and Ledger(folder).damage == []
    with Ledger(folder) as ledger:
        ledger.write("6", {"n": 6})
    assert content(Ledger(folder)) == {**every, "6": {"n": 6}}
    monkeypatch.setattr(module, "LINE_LIMIT", 1100)
    with Ledger(folder) as ledger, pytest.raises(FileError, match=r"of 7 has \d+ bytes"):
        ledger.write("7", every["0"])
    assert "7" not in Ledger(folder)
