import hashlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from builtup.jobs import digests
from builtup.jobs.digests import sha256_of


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LEAST_SIZE", 0)
    monkeypatch.setattr(digests, "SETTLED", 0)
    return tmp_path / "cache" / "builtup" / "digests.sqlite"


def expected(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_digest_is_remembered_and_used(memory: Path, tmp_path: Path) -> None:
    file = tmp_path / "scene.tif"
    file.write_bytes(b"radar")
    assert sha256_of(file) == expected(file)
    with sqlite3.connect(memory) as connection:
        connection.execute("UPDATE digests SET sha256 = 'remembered'")
    assert sha256_of(file) == "remembered"


def test_a_change_that_hides_its_time_is_seen(memory: Path, tmp_path: Path) -> None:
    file = tmp_path / "scene.tif"
    file.write_bytes(b"radar")
    before = file.stat()
    sha256_of(file)
    time.sleep(0.05)  # a tick of the file system's clock
    file.write_bytes(b"RADAR")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert sha256_of(file) == expected(file)


def test_a_file_that_has_just_changed_is_not_remembered(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED", 3_600_000_000_000)
    file = tmp_path / "scene.tif"
    file.write_bytes(b"radar")
    sha256_of(file)
    with sqlite3.connect(memory) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["a folder in its place", "no database"])
def test_without_its_memory_it_still_hashes(memory: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "scene.tif"
    file.write_bytes(b"radar")
    if damage == "no database":
        memory.parent.mkdir(parents=True)
        memory.write_bytes(b"x" * 5000)
    else:
        memory.mkdir(parents=True)
    assert sha256_of(file) == expected(file)
