"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builtup.errors import OutputError
from builtup.jobs.files import (
    atomic_directory,
    atomic_files,
    atomic_path,
    output_error,
    owner,
    scratch_directory,
    write_error,
    write_text_atomically,
)
from helpers import ROOT


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "new" / "a.tif"
    with atomic_path(final) as path:
        path.write_text("half")
        assert not final.exists()
        assert path.suffix == ".tif"
        path.write_text("whole")
    assert final.read_text() == "whole"
    assert left(tmp_path) == ["a.tif", "new"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "a.tif"
    final.write_text("old")
    with pytest.raises(KeyError), atomic_path(final) as path:
        path.write_text("half")
        raise KeyError
    assert final.read_text() == "old"
    assert left(tmp_path) == ["a.tif"]


def test_what_dead_processes_left_is_swept_away_and_the_rest_stays(tmp_path: Path) -> None:
    dead = tmp_path / f".a.{owner(dead_pid())}.partial.tif"
    living = tmp_path / f".a.{owner(os.getppid())}.partial.tif"
    other = tmp_path / f".ab.{owner(dead_pid())}.partial.tif"
    for path in (dead, living, other):
        path.write_text("half")
    write_text_atomically(tmp_path / "a.tif", "whole")
    assert left(tmp_path) == sorted([living.name, other.name, "a.tif"])


def test_what_another_machine_writes_stays_for_a_day(tmp_path: Path) -> None:
    paths = [tmp_path / f".a.{machine}-1.partial.tif" for machine in ("0123abcd", "4567abcd")]
    for path in paths:
        path.write_text("half")
    os.utime(paths[0], times=(0.0, time.time() - 25 * 3600))
    write_text_atomically(tmp_path / "a.tif", "whole")
    assert left(tmp_path) == [paths[1].name, "a.tif"]


def test_two_processes_that_write_one_folder_at_once_both_succeed(tmp_path: Path) -> None:
    final = tmp_path / "scene_tiles"
    program = (
        "import sys; from pathlib import Path; from builtup.jobs.files import atomic_directory\n"
        "for _ in range(200):\n"
        "    with atomic_directory(Path(sys.argv[1])) as path:\n"
        "        (path / 'a.tif').write_text('same')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(final)], env=environment)
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert left(tmp_path) == ["a.tif", "scene_tiles"]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "scene_tiles"
    final.mkdir()
    (final / "old.tif").write_text("old")
    with atomic_directory(final) as path:
        (path / "new.tif").write_text("new")
        assert left(final) == ["old.tif"]
    assert left(tmp_path) == ["new.tif", "scene_tiles"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "scene_tiles"
    final.mkdir()
    (final / "old.tif").write_text("old")
    with pytest.raises(KeyError), atomic_directory(final) as path:
        (path / "new.tif").write_text("new")
        raise KeyError
    assert left(tmp_path) == ["old.tif", "scene_tiles"]


def test_files_of_a_format_appear_together(tmp_path: Path) -> None:
    names = ["a.dbf", "a.shp"]
    for name in names:
        (tmp_path / name).write_text("old")
    missing = pytest.raises(OutputError, match=r"a\.shp: was not written")
    with missing, atomic_files(tmp_path, names) as folder:
        (folder / "a.dbf").write_text("new")
    assert {(tmp_path / name).read_text() for name in names} == {"old"}
    with atomic_files(tmp_path, names) as folder:
        for name in names:
            (folder / name).write_text("new")
    assert {(tmp_path / name).read_text() for name in names} == {"new"}
    assert left(tmp_path) == names


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="choose an output_path"):
        write_text_atomically(tmp_path / "a.txt", "x")


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written.*that is a folder"):
        write_text_atomically(tmp_path / "out" / "a.txt", "x")


def test_a_name_that_leaves_no_room_for_the_temporary_one_is_one_line(tmp_path: Path) -> None:
    long = "é" * 115 + ".tif"
    with pytest.raises(OutputError, match=r"234 bytes is longer than .*; rename the scene"):
        write_text_atomically(tmp_path / long, "")
    assert left(tmp_path) == []
    write_text_atomically(tmp_path / long[60:], "whole")
    assert left(tmp_path) == [long[60:]]


def test_the_message_names_the_final_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "a.tif") as path:
        raise OutputError(path, "cannot be written (disk full)", "free some space")
    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'}: cannot be written")


def test_messages_name_the_files_that_the_user_knows(tmp_path: Path) -> None:
    def fail(path: Path) -> OutputError:
        return OutputError(path, f"cannot be written ({path} is cut)", "free some space")

    with pytest.raises(OutputError) as tile, atomic_directory(tmp_path / "a_tiles") as folder:
        raise fail(folder / "tile_0_0.tif")
    with pytest.raises(OutputError) as draft, atomic_path(tmp_path / "a.tif") as path:
        raise fail(path.with_name(f"{path.stem}.draft{path.suffix}"))
    with pytest.raises(OutputError) as part, atomic_files(tmp_path, ["a.dbf", "a.shp"]) as folder:
        raise fail(folder / "a.dbf")
    with pytest.raises(OutputError) as last, atomic_files(tmp_path, ["a.dbf", "a.shp"]):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [caught.value.path for caught in (tile, draft, part, last)] == [
        str(tmp_path / name) for name in ("a_tiles/tile_0_0.tif", "a.tif", "a.dbf", "a.shp")
    ]
    for caught in (tile, draft, part, last):
        assert ".part" not in str(caught.value)


def test_a_full_disk_is_told_where_a_library_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the free space" in str(write_error(tmp_path / "a.tif", "write error"))
    monkeypatch.setattr("builtup.jobs.files.FULL_BELOW", 1 << 62)
    assert "the disk is full" in str(write_error(tmp_path / "a.tif", "write error"))


def test_a_full_disk_says_so() -> None:
    message = str(output_error(Path("a.tif"), OSError(errno.ENOSPC, "No space left on device")))
    assert message == (
        "a.tif: cannot be written (No space left on device); "
        "the disk is full: free some space or choose another output_path"
    )


def test_a_scratch_folder_lasts_as_long_as_its_context(tmp_path: Path) -> None:
    final = tmp_path / "out.tif"
    with scratch_directory(final) as folder:
        (folder / "half.tif").write_text("x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), scratch_directory(final) as folder:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    dead = tmp_path / folder.name.replace(f"-{os.getpid()}.", "-999999999.")
    dead.mkdir()
    with scratch_directory(final):
        assert not dead.exists()  # a killed process left it
