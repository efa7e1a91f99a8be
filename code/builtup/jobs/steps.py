"""Running the jobs of a step: what is done already, several processes or a cluster, one summary.

A job (usually a scene) writes its outputs atomically, then a manifest: size, mtime and sha256 of
each input, the settings, and the step's version. A job is done when its manifest says so, never
because a file exists. So a killed step goes on where it was, and a changed input, setting or
version redoes exactly the jobs that depend on it. The life of a job:

    planned    Job(name, inputs, outputs, settings), by the step's own module
       │
    is_done ── the manifest tells of this step, version and settings, of these inputs, and of
       │       outputs that are there ───────────────────────────────────────▶ up to date
       │ no
    _run_job   in this process, another one, or on a cluster (executors.py)
       │         fetch the inputs, where they lie in an object store (store.py)
       │         remove the manifest, here and in the store: from now on the job is not done
       │         work(job): each output is written beside its place and renamed (files.py)
       │         put the outputs into the store
       │         write the manifest, and put it into the store, last ────────▶ done
       │
    awaited    after a machine elsewhere: fetch, or wait until the file system here shows both

An error of ours (BuiltupError) at any point ends the job alone: it has no manifest, and the step
stops (`on_error="stop"`) or lists it (`"skip"`). A manifest is `.manifest/<first output>.json`
beside the outputs:

    {"step": "rasterize", "version": 3, "settings": {"all_touched": true},
     "inputs": [{"name", "path", "size", "mtime", "sha256"}, …],
     "outputs": [{"name", "size"} of a file, {"name", "files", "size"} of a folder, …]}
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from builtup.errors import BuiltupError, InputError, OutputError
from builtup.jobs import executors, store
from builtup.jobs.digests import sha256_of
from builtup.jobs.files import output_error, write_text_atomically
from builtup.logs import no_bars
from builtup.text_table import counted

__all__ = ["Job", "Step", "Summary", "describe_input", "is_done", "record_done", "run_step"]

log = logging.getLogger(__name__)

#: Manifests stand in this folder beside the outputs.
MANIFESTS = ".manifest"
#: Seconds until what another machine wrote must be seen here (NFS looks again after up to 60).
VISIBLE_WITHIN = 90.0


@dataclass(frozen=True)
class Step:
    """A step's name and the version that its author raises when its output changes.

    Below `spawn_above` pixels in all, one process is done before others have started.
    """

    name: str
    version: int
    spawn_above: int = 0


@dataclass(frozen=True)
class Job:
    """One unit of work: `outputs` (files, or folders filled by this job) made from `inputs`.

    `settings` are whatever else the outputs depend on, as JSON values. `pixels` is for the
    summary; `context` is passed on to the work function and is no part of what is compared.
    `resources` says what a worker of a cluster must offer: {"GPU": 1}.
    """

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    settings: Mapping[str, Any]
    pixels: int = 0
    context: Any = None
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        """Where the job's manifest stands."""
        first = self.outputs[0]
        return first.parent / MANIFESTS / f"{first.name}.json"

    def forget(self) -> None:
        """Remove the manifest, so that the job is not done; raise OutputError where it stays."""
        try:
            self.manifest.unlink(missing_ok=True)
        except OSError as e:
            raise output_error(self.outputs[0], e) from e


@dataclass
class Summary:
    """What a step did, for its one line at the end and for MLflow.

    `pixels` are those of the jobs that were `done`, `counts` what their work counted.
    """

    step: str
    done: int = 0
    up_to_date: int = 0
    pixels: int = 0
    seconds: float = 0.0
    skipped: list[BuiltupError] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    noun: str = "scenes"
    manifests: str = ""  # where those of the jobs stand, and a digest of their inputs

    def line(self) -> str:
        """`rasterize: 16 scenes, 1929.0 Mpx in 61.2 s (31.5 Mpx/s), …`."""
        if self.done == 0 and not self.skipped:
            return (
                f"{self.step}: nothing to do, {counted(self.up_to_date, self.noun)} up to date "
                f"({self.seconds:.1f} s)"
            )
        parts = [counted(self.done, self.noun)]
        parts += [counted(count, noun) for noun, count in self.counts.items()]
        if self.pixels:
            rate = self.pixels / 1e6 / max(self.seconds, 1e-9)
            parts.append(f"{self.pixels / 1e6:.1f} Mpx in {self.seconds:.1f} s ({rate:.1f} Mpx/s)")
        else:  # steps that only list what is to be read
            parts[-1] += f" in {self.seconds:.1f} s"
        if self.up_to_date:
            parts.append(f"{self.up_to_date} up to date")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        return f"{self.step}: " + ", ".join(parts)

    def metrics(self) -> dict[str, float]:
        """The figures for MLflow."""
        return {
            "done": self.done,
            "up_to_date": self.up_to_date,
            "skipped": len(self.skipped),
            "megapixels": self.pixels / 1e6,
            "seconds": self.seconds,
            **{noun.replace(" ", "_"): count for noun, count in self.counts.items()},
        }


#: What a job's work returns: counts for the summary ("tiles": 529), or nothing.
Work = Callable[[Job], "dict[str, int] | None"]


def run_step(
    step: Step,
    jobs: Sequence[Job],
    work: Work,
    *,
    num_workers: int = 1,
    on_error: str = "stop",
    problems: Sequence[BuiltupError] = (),
    noun: str = "scenes",
) -> Summary:
    """Run `work` (a function at module level) for each job that is not done yet.

    `problems` are inputs refused before any job: with `on_error="stop"` the first is raised before
    anything is written; with `"skip"` they and the jobs that fail are listed in the summary.
    Several processes are used only where there are several jobs. Within `executors.using` the jobs
    run there instead, whatever `num_workers` is.
    """
    started = time.monotonic()
    if on_error not in {"stop", "skip"}:
        raise BuiltupError(f"on_error={on_error}: unknown value; use stop or skip")
    if num_workers < 1:
        raise BuiltupError(f"num_workers={num_workers}: must be at least 1; use 1 or more")
    if problems and on_error == "stop":
        raise problems[0]
    summary = Summary(step.name, skipped=list(problems), noun=noun)
    todo = []
    for job in jobs:
        if is_done(step, job):
            log.debug("%s: %s is up to date", step.name, job.name)
            summary.up_to_date += 1
        else:
            todo.append(job)
    bar = tqdm(total=len(todo), desc=step.name, unit="job", disable=no_bars(), leave=False)
    with bar, closing(_execute(step, todo, work, num_workers)) as outcomes:
        for job, counts, error in outcomes:
            bar.update()
            if error is not None:
                if on_error == "stop":
                    raise error
                summary.skipped.append(error)
                continue
            log.debug("%s: %s done", step.name, job.name)
            summary.done += 1
            summary.pixels += job.pixels
            for key, count in counts.items():
                summary.counts[key] = summary.counts.get(key, 0) + count
    summary.seconds = time.monotonic() - started
    summary.manifests = _describe_manifests(jobs)
    for problem in summary.skipped:
        log.warning("skipped: %s", store.with_urls(str(problem)))
    return summary


def _describe_manifests(jobs: Sequence[Job]) -> str:
    """`12 in output/masks/Mosul_2015/.manifest, … (sha256 of their inputs 0123…)`, or nothing."""
    digest = hashlib.sha256()
    folders: dict[Path, None] = {}
    count = 0
    for job in sorted(jobs, key=lambda job: job.name):
        try:
            known = json.loads(job.manifest.read_text(encoding="utf-8"))["inputs"]
            digests = "".join(entry["sha256"] for entry in known)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # skipped
        digest.update(digests.encode())
        folders[job.manifest.parent] = None
        count += 1
    if not count:
        return ""
    places = ", ".join(str(folder) for folder in folders)
    return f"{count} (sha256 of their inputs {digest.hexdigest()}) in {places}"


#: A job that has ended, what its work counted, and the error that refused it.
Outcome = tuple[Job, dict[str, int], BuiltupError | None]


def _execute(
    step: Step, jobs: Sequence[Job], work: Work, num_workers: int
) -> Generator[Outcome, None, None]:
    """Yield the outcome of each job as it ends, once its manifest can be seen here."""
    small = sum(job.pixels for job in jobs) < step.spawn_above
    executor = executors.chosen() or executors.LocalProcesses(1 if small else num_workers)
    stores = store.active()
    for job, counts, error in executor.run(step.name, partial(_run_job, step, work, stores), jobs):
        if executor.remote and error is None:
            error = _await_outputs(step, job)
        yield job, counts, error


def _await_outputs(step: Step, job: Job) -> BuiltupError | None:
    """Wait until a job that another machine did is done here too; None when it is."""
    try:
        store.fetch((*job.outputs, job.manifest), store.active())
    except BuiltupError as e:
        return e  # of this job alone: the others may be had
    deadline = time.monotonic() + VISIBLE_WITHIN
    while _manifest_of_outputs(step, job) is None:
        if time.monotonic() > deadline:
            return OutputError(
                job.outputs[0],
                f"was written by a worker, but is not here after {VISIBLE_WITHIN:.0f} s",
                "give the workers and this machine the same folder at the same path",
            )
        time.sleep(0.1)
    return None


def _run_job(step: Step, work: Work, stores: Sequence[store.Store], job: Job) -> Outcome:
    try:
        store.fetch(job.inputs, stores)
        job.forget()
        with ThreadPoolExecutor(1) as thread:  # hashing releases the GIL: it costs no time
            described = thread.submit(lambda: [describe_input(path) for path in job.inputs])
            store.forget([job.manifest], stores)
            counts = work(job) or {}
            store.put(job.outputs, stores)
            record_done(step, job, described.result())
            store.put([job.manifest], stores)
    except BuiltupError as e:
        return job, {}, e
    return job, counts, None


def describe_input(path: Path) -> dict[str, Any]:
    """Name, path, size, mtime and sha256 of a file, as manifests hold them.

    The path says where the file was found, for tracing; it is not compared. Raises InputError.
    """
    try:
        stat = path.stat()
        digest = sha256_of(path)
    except OSError as e:
        remedy = "check the path and your rights to read it"
        raise InputError(path, f"cannot be read ({e.strerror})", remedy) from e
    return {
        "name": path.name,
        "path": str(path),
        "size": stat.st_size,
        "mtime": stat.st_mtime_ns,
        "sha256": digest,
    }


def is_done(step: Step, job: Job) -> bool:
    """Whether the job's manifest shows that its outputs were made from these very inputs.

    Inputs that were touched, or copied without their times, are noted in the manifest where that
    can be written, so that they are hashed once.
    """
    manifest = _manifest_of_outputs(step, job)
    if manifest is None:
        return False
    now: list[Mapping[str, Any]] = []
    try:
        known = manifest["inputs"]
        if len(known) != len(job.inputs):
            return False
        for path, entry in zip(job.inputs, known, strict=True):
            described = _as_known(path, entry)
            if described is None:
                return False
            now.append(described)
    except (OSError, InputError, KeyError, TypeError):
        return False  # an input that is gone, or a manifest that is none of ours
    if now != known:
        with suppress(OutputError):
            _write_manifest(job, {**manifest, "inputs": now})
    return True


def _manifest_of_outputs(step: Step, job: Job) -> dict[str, Any] | None:
    """The job's manifest where it is of this step, these settings and the outputs here."""
    try:
        manifest: dict[str, Any] = json.loads(job.manifest.read_text(encoding="utf-8"))
        if (
            manifest["step"] == step.name
            and manifest["version"] == step.version
            and manifest["settings"] == _as_json(job.settings)
            and manifest["outputs"] == [_describe_output(path) for path in job.outputs]
        ):
            return manifest
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no manifest, an unreadable one, or an output that is gone
    return None


def _as_known(path: Path, known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of an input that is still the `known` one, touched or not; None of another."""
    stat = path.stat()
    if path.name != known["name"] or stat.st_size != known["size"]:
        return None
    if stat.st_mtime_ns == known["mtime"]:
        return known
    described = describe_input(path)
    return described if described["sha256"] == known["sha256"] else None


def record_done(step: Step, job: Job, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Write the job's manifest; `inputs` were described before the work began."""
    manifest = {
        "step": step.name,
        "version": step.version,
        "settings": _as_json(job.settings),
        "inputs": list(inputs),
        "outputs": [_describe_output(path) for path in job.outputs],
    }
    _write_manifest(job, manifest)


def _write_manifest(job: Job, manifest: Mapping[str, Any]) -> None:
    write_text_atomically(job.manifest, json.dumps(manifest, indent=1) + "\n")


def _describe_output(path: Path) -> dict[str, Any]:
    """Name and size of a file; name, number of files and their size of a folder."""
    if path.is_dir():
        sizes = [entry.stat().st_size for entry in os.scandir(path) if entry.is_file()]
        return {"name": path.name, "files": len(sizes), "size": sum(sizes)}
    return {"name": path.name, "size": path.stat().st_size}


def _as_json(settings: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(settings), sort_keys=True))
