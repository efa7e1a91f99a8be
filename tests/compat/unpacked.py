"""The project that 937d379 left (see make_937d379.py), put where a test may work on it."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

__all__ = ["snapshot", "unpack"]

ARCHIVE = Path(__file__).with_name("written_by_937d379.tar.xz")
#: Where the project stood when it was written.
ROOT = "/builtup-937d379"


def unpack(folder: Path) -> Mapping[str, str]:
    """Unpack into an empty folder, with the times to the nanosecond; give the run ids by name.

    The database and the records of runs name the folder that they lie in now.
    """
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    times: Mapping[str, int] = json.loads((folder / "mtimes.json").read_text())
    for name, time in times.items():
        path = folder / name
        if path.suffix == ".json" or path.name == "MLmodel":
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(ROOT, str(folder)), encoding="utf-8")
        os.utime(path, ns=(time, time))
    _move_database(folder / "output" / "mlflow.db", str(folder))
    (folder / "mtimes.json").unlink()
    runs: Mapping[str, str] = json.loads((folder / "runs.json").read_text())
    return runs


def _move_database(database: Path, root: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                name = column[1]
                connection.execute(
                    f'UPDATE "{table}" SET "{name}" = replace("{name}", ?, ?) '
                    f'WHERE typeof("{name}") = ? AND instr("{name}", ?)',
                    (ROOT, root, "text", ROOT),
                )


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file but the database's, by path."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("mlflow.db")
    }
