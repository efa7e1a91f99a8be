"""What a command says: results on stdout, log lines with their time on stderr, all in a log file.

How much it says is chosen by the options that every command has (`options.Command`). They stand in
the environment from then on, so that the processes which a command starts say as much as it does:

    --quiet      BUILTUP_QUIET=1     warnings and errors only, no progress bars
    --verbose    BUILTUP_VERBOSE=1   details as well
    --log-file   BUILTUP_LOG_FILE    a file that all of it is appended to, details included
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builtup import __version__
from builtup.errors import BuiltupError, OutputError, one_line

__all__ = [
    "QUIET",
    "VERBOSE",
    "begin",
    "ending",
    "no_bars",
    "say",
    "set_up",
    "warn_once",
    "write_to",
]

log = logging.getLogger(__name__)

QUIET, VERBOSE, LOG_FILE = "BUILTUP_QUIET", "BUILTUP_VERBOSE", "BUILTUP_LOG_FILE"
#: rasterio's and fiona's: what matters is raised by us; botocore says where it finds credentials.
_OTHERS = {
    "rasterio": logging.CRITICAL,
    "fiona": logging.WARNING,
    "fiona._env": logging.CRITICAL,
    "pyogrio": logging.WARNING,
    "botocore": logging.WARNING,
}
_MLFLOW_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


class _Screen(logging.Handler):
    """Lines on stderr, whatever that is now; progress bars make way for them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            bars = sys.modules.get("tqdm.std")  # whoever shows none has not imported it
            if bars is None:
                sys.stderr.write(f"{line}\n")
            else:
                bars.tqdm.write(line, file=sys.stderr)
        except Exception:  # noqa: BLE001 - as the handlers of the standard library do
            self.handleError(record)


class _File(logging.FileHandler):
    """Lines appended to the log file, with their date."""


def set_up(least: int = logging.INFO) -> None:
    """Send what this process logs to the screen and to the log file, as the environment says.

    `least` is the level below which nothing of this process is said: of several that do the same,
    one speaks. Raises OutputError for a log file that cannot be written.
    """
    root, ours = logging.getLogger(), logging.getLogger("builtup")
    for old in [of for of in root.handlers if isinstance(of, _Screen | _File)]:
        root.removeHandler(old)
        old.close()
    screen = _Screen(logging.DEBUG if _is_set(VERBOSE) else logging.INFO)
    if _is_set(QUIET):
        screen.setLevel(logging.WARNING)
        for name, value in _MLFLOW_QUIET.items():  # its lines and bars are its own
            os.environ.setdefault(name, value)
    screen.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
    root.addHandler(screen)
    path = os.environ.get(LOG_FILE)
    if path:
        root.addHandler(_opened(Path(path)))
    root.setLevel(least)
    details = bool(path) or _is_set(VERBOSE)
    ours.setLevel(logging.DEBUG if details and least <= logging.INFO else logging.NOTSET)
    for name, level in _OTHERS.items():
        logging.getLogger(name).setLevel(level)


def begin() -> None:
    """`set_up` of a command: its log file begins with what was called."""
    set_up()
    import shlex  # late: --help does without

    _to_file(logging.INFO, shlex.join(["builtup", *sys.argv[1:]]))
    where = f"Python {sys.version.split()[0]} on {sys.platform}, in {Path.cwd()}"
    _to_file(logging.DEBUG, f"builtup {__version__}, {where}")


def write_to(path: Path) -> None:
    """Append what this process and those that it starts say to a file, from its command line on."""
    if os.environ.get(LOG_FILE) == str(path.absolute()):
        return
    _opened(path).close()  # refused before others are told
    os.environ[LOG_FILE] = str(path.absolute())
    begin()


def no_bars() -> bool | None:
    """The `disable` of a tqdm bar: True where quiet was asked for, None (off a terminal) else."""
    return True if _is_set(QUIET) else None


def say(text: str) -> None:
    """Print what a command was asked for: on stdout, quiet or not, and into the log file."""
    import click  # here: the processes of a step do without

    click.echo(text)
    for line in text.splitlines():
        _to_file(logging.INFO, line)


@contextmanager
def ending() -> Iterator[None]:
    """End the process: bad input in one line and with status 1, a bug with its traceback."""
    import click

    try:
        yield
    except (click.exceptions.Exit, click.ClickException) as e:
        if isinstance(e, click.ClickException):
            e.show()
            _to_file(logging.ERROR, e.format_message())
        sys.exit(e.exit_code)
    except (click.Abort, KeyboardInterrupt) as e:  # what was interrupted may know the way on
        way = str(e.__cause__ or e) or "run the same command again to go on"
        _end(f"interrupted; {way}", 130)
    except BuiltupError as e:
        _end(f"error: {one_line(e)}", 1)
    except Exception:
        _to_file(logging.ERROR, traceback.format_exc())
        raise


def _end(line: str, status: int) -> None:
    sys.stderr.write(f"{line}\n")
    _to_file(logging.ERROR, line)
    sys.exit(status)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in {"", "0"}


def _opened(path: Path) -> _File:
    try:
        file = _File(path, encoding="utf-8")
    except OSError as e:
        raise OutputError(
            path, f"cannot be written ({e.strerror or e})", "choose another file for --log-file"
        ) from e
    file.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
    return file


def _to_file(level: int, text: str) -> None:
    """A line for the log file alone."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _File):
            handler.handle(logging.LogRecord("builtup", level, "", 0, text, None, None))


@functools.lru_cache(maxsize=1000)
def warn_once(text: str) -> None:
    """Log a warning, once a process: the steps of a chain read the same scenes and polygons."""
    log.warning("%s", text)
