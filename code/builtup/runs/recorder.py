"""What one run says to MLflow, which may be away for a while: nothing is lost, nothing stops.

Figures that cannot be logged are kept and sent later. At the end of a run MLflow is waited for;
what it still has not got then is written beside the artifacts, and one line says where.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from builtup.errors import BuiltupError, RunError, one_line
from builtup.jobs.files import output_error, write_text_atomically
from builtup.runs import tracking
from builtup.runs.database import said
from builtup.runs.tracking import has_record, metric_name, rename, shortened

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

__all__ = ["UNSENT", "Recorder", "UsedData", "mlflow_errors", "recording", "unset"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Figures that MLflow did not take, in a run's artifacts.
UNSENT = "unsent_metrics.json"
#: Seconds between two tries, and after which MLflow is waited for no longer.
PAUSE, PATIENCE = 15.0, 300.0
#: What MLflow answers where asking again may help.
_PASSING = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"}
_BATCH = 1000


@dataclass(frozen=True)
class UsedData:
    """A data set that a run reads, for MLflow's inputs.

    `digest` (at most 36 characters) is that of its contents, `source` the folder or list,
    `context` training, validation or inference, `profile` JSON values to show.
    """

    name: str
    digest: str
    source: str
    context: str
    profile: Mapping[str, Any]


class Recorder:
    """What one run says to MLflow, and the folder that its artifacts are written to.

    Of several processes only rank 0 holds a real one; the others' is silent and has no run id.
    Where the artifact store is local, `folder` is the run's own artifact folder; otherwise it is
    output/runs/<run id> and is uploaded when the run ends.
    """

    def __init__(self, run: Run | None = None) -> None:
        self.run_id = "" if run is None else str(run.info.run_id)
        local = None if run is None else tracking.artifact_folder(run)
        self._upload = run is not None and local is None
        self.folder = local or Path("output") / "runs" / (self.run_id or "silent")
        self._own = None if run is None else tracking.client()
        self._unsent: list[Metric] = []
        self._not_before = 0.0

    def params(self, values: Mapping[str, Any], prefix: str = "cfg/") -> None:
        """Log parameters under a prefix: MLflow keeps the entry point's own without one."""
        if self.run_id:
            import mlflow

            texts = {f"{prefix}{key}": shortened(value) for key, value in values.items()}
            _patiently(lambda: mlflow.log_params(texts, run_id=self.run_id))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics at a step; what is undefined (NaN) is left out.

        Where MLflow does not answer they are kept, and sent when it does again.
        """
        defined = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        if self.run_id and defined:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self._unsent += [Metric(metric_name(k), v, now, step) for k, v in defined.items()]
            if time.monotonic() >= self._not_before:
                self._try_to_send()

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        if self.run_id:
            import mlflow

            texts = {key: shortened(value) for key, value in values.items()}
            _patiently(lambda: mlflow.set_tags(texts))

    def inputs(self, datasets: Iterable[UsedData]) -> None:
        """Log what the run reads, as MLflow datasets."""
        if not self.run_id:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entries = [
            DatasetInput(
                Dataset(
                    name=used.name[:500],
                    digest=used.digest,
                    source_type="local",
                    source=json.dumps({"uri": used.source}),
                    profile=json.dumps(dict(used.profile)),
                ),
                [InputTag("mlflow.data.context", used.context)],
            )
            for used in datasets
        ]
        if entries:
            _patiently(lambda: tracking.client().log_inputs(self.run_id, entries))

    def flush(self, patience: float | None = None) -> None:
        """Send the figures that were kept, waiting for MLflow up to `patience` seconds.

        Raises RunError where it does not answer: they are in unsent_metrics.json then.
        """
        until = time.monotonic() + (PATIENCE if patience is None else patience)
        while self._unsent and not self._try_to_send() and time.monotonic() < until:
            time.sleep(PAUSE)
        if self._unsent:
            self.keep()
            raise RunError(
                f"MLflow does not take {len(self._unsent)} figures of run {self.run_id}: they are "
                f"in {self.folder / UNSENT}, weights and checkpoints beside it; check "
                "MLFLOW_TRACKING_URI"
            )

    def keep(self) -> None:
        """Write the figures that were not sent into the artifacts; nothing where there are none."""
        if self._unsent:
            values = [dict(of) for of in self._unsent]
            write_text_atomically(self.folder / UNSENT, json.dumps(values, indent=1) + "\n")

    def finish(self, patience: float | None = None) -> None:
        """Send what was kept; upload the artifacts where the store is not local."""
        self.flush(patience)
        if self._upload:
            import mlflow

            _patiently(lambda: mlflow.log_artifacts(str(self.folder)), patience)

    def _try_to_send(self) -> bool:
        """Send all that is kept; False, and a line the first time, where MLflow takes it not."""
        away = self._not_before > 0
        count = len(self._unsent)
        try:
            while self._unsent and self._own is not None:
                self._own.log_batch(self.run_id, metrics=self._unsent[:_BATCH])
                del self._unsent[:_BATCH]
        except mlflow_errors() as e:
            if not away:
                log.warning(
                    "MLflow does not take figures (%s); they are kept, and sent later",
                    said(e),
                )
            self._not_before = time.monotonic() + PAUSE
            return False
        if away:
            log.info("MLflow takes figures again: %d sent", count)
            self._not_before = 0.0
        return True


def mlflow_errors() -> tuple[type[Exception], ...]:
    """What a call to MLflow raises where that, or its database, does not answer or refuses."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, RunError)


def _patiently(call: Callable[[], T], patience: float | None = None) -> T:
    """What a call to MLflow returns, tried again while it does not answer; RunError in the end."""
    until, told = time.monotonic() + (PATIENCE if patience is None else patience), False
    while True:
        try:
            return call()
        except mlflow_errors() as e:
            code = getattr(e, "error_code", "TEMPORARILY_UNAVAILABLE")
            if code not in _PASSING or time.monotonic() > until:
                uri = os.environ.get("MLFLOW_TRACKING_URI", "the project's database")
                raise RunError(
                    f"MLflow at {uri}: {said(e)}; check MLFLOW_TRACKING_URI and MLFLOW_RUN_ID"
                ) from e
            if not told:
                log.warning("MLflow does not answer (%s); waiting for it", said(e))
                told = True
            time.sleep(PAUSE)


@contextmanager
def recording(
    experiment: str, name: str, *, active: bool = True, run_id: str = ""
) -> Iterator[Recorder]:
    """A run in `experiment`: `run_id` to go on with it, else the one that `mlflow run` opened
    (MLFLOW_RUN_ID), else a new one. An opened run that holds another record is left as it is: the
    new one stands beneath it. It is called `name`, where MLflow or nobody has named it.

    It ends as FINISHED, as FAILED on any error (its one line is the tag `error`) and as KILLED on
    an interrupt or SIGTERM. With `active=False` (every rank but 0) nothing is logged.
    """
    if not active:
        yield Recorder()
        return
    import mlflow

    run = _start_run(experiment, name, run_id)
    recorder = Recorder(run)
    status = "FAILED"
    with _terminable() as closing:
        try:
            _make(recorder.folder)
            log.info("MLflow run %s, artifacts in %s", recorder.run_id, recorder.folder)
            yield recorder
            recorder.finish()
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            closing()
            status = "KILLED"
            recorder.keep()
            raise
        except Exception as e:
            closing()
            with suppress(*mlflow_errors()):
                mlflow.set_tag("error", shortened(one_line(e)))
            try:
                recorder.finish(patience=0)  # its checkpoints may be gone on with
            except BuiltupError as later:
                log.warning("%s", one_line(later))
            if _is_killed_loader(e):
                raise RunError(
                    f"{one_line(e, 200).rstrip('. ')}: too little memory, as a rule; go on with "
                    f"resume_from={recorder.run_id} and fewer num_workers, or a smaller batch_size"
                ) from e
            raise
        finally:
            closing()
            _end_run(recorder.run_id, status)


def _is_killed_loader(e: Exception) -> bool:
    return isinstance(e, RuntimeError) and str(e).startswith("DataLoader worker")


def _end_run(run_id: str, status: str) -> None:
    """Close a run; a line where MLflow does not take it."""
    import mlflow

    try:
        try:
            mlflow.end_run(status)
        except mlflow_errors():
            if status == "KILLED":
                raise
            _patiently(lambda: tracking.client().set_terminated(run_id, status))
    except mlflow_errors() as e:
        log.warning("run %s is not closed as %s (%s)", run_id, status, said(e))


def _start_run(experiment: str, name: str, run_id: str) -> Run:
    import mlflow
    from mlflow.exceptions import MlflowException

    own = tracking.client()
    opened = os.environ.get("MLFLOW_RUN_ID", "")
    try:
        parent = None
        if opened and not run_id:
            if not has_record(own.get_run(opened)):
                run_id = opened
            else:
                parent = opened
        if run_id:
            rename(own.get_run(run_id), name)
            return mlflow.start_run(run_id=run_id, log_system_metrics=True)
        with unset("MLFLOW_RUN_ID"):  # else it is gone on with
            run = mlflow.start_run(
                experiment_id=tracking.experiment_id(own, experiment),
                run_name=name,
                parent_run_id=parent,
                log_system_metrics=True,
            )
        if parent:
            log.warning(
                "run %s of MLFLOW_RUN_ID holds another record: %s is run %s beneath it",
                *(parent, name, run.info.run_id),
            )
        return run
    except MlflowException as e:
        raise RunError(
            f"MLflow at {own.tracking_uri}: no run can be started ({said(e)}); "
            "check MLFLOW_TRACKING_URI and MLFLOW_RUN_ID, and restore what was deleted"
        ) from e


@contextmanager
def unset(name: str) -> Iterator[None]:
    """Take a variable out of the environment while the block runs."""
    before = os.environ.pop(name, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise output_error(folder, e) from e


@contextmanager
def _terminable() -> Iterator[Callable[[], None]]:
    """Let SIGTERM unwind the stack, so that the run is closed; after a call of what is yielded it
    waits for that (a second one does not): of several processes, one that failed as well is ended
    while it says so."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    is_closing, late = threading.Event(), threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if late.is_set() or not is_closing.is_set():
            sys.exit(128 + number)
        late.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield is_closing.set
    finally:
        signal.signal(signal.SIGTERM, before)
    if late.is_set():
        sys.exit(128 + signal.SIGTERM)
