"""The page of a search: the best settings, how it came to them, and every trial."""

from __future__ import annotations

from pathlib import Path

from builtup.errors import InputError, RunError
from builtup.jobs.files import write_text_atomically
from builtup.report.page import ASSETS, templates
from builtup.report.search_charts import history_chart, importance_chart, parallel_chart
from builtup.runs import tracking
from builtup.runs.study_records import FINISHED, SearchRecord

__all__ = ["SEARCH_HTML", "is_search", "render_search", "search_page"]

SEARCH_HTML = "search.html"


def is_search(run_id: str) -> bool:
    """Whether a run is one of `search`; RunError where there is no such run."""
    return "search_of" in tracking.find_run(run_id).data.tags


def search_page(run_id: str) -> Path:
    """Write the page of a search into its run's artifacts, and log it; return its path.

    The page is the same whenever the search is. Raises RunError where that run is no search.
    """
    if not is_search(run_id):
        raise RunError(f"run_id={run_id}: is no search; give the run that search has named")
    folder = tracking.run_artifacts(run_id) / SearchRecord.FOLDER
    record = SearchRecord.read(folder)
    if not record.trials:
        remedy = "run search again: it goes on where it was"
        raise InputError(folder / SearchRecord.NAME, "no trial has ended yet", remedy)
    path = folder / SEARCH_HTML
    write_text_atomically(path, render_search(record, run_id))
    if tracking.artifact_folder(tracking.find_run(run_id)) is None:
        tracking.client().log_artifact(run_id, str(path), SearchRecord.FOLDER)
    return path


def render_search(record: SearchRecord, run_id: str) -> str:
    """The HTML, with its style and charts in it; whatever comes from data is escaped."""
    finished = [line for line in record.trials if line.state == FINISHED]
    ranked = sorted(finished, key=lambda line: (-(line.value or 0.0), line.number))
    others = [line for line in record.trials if line.state != FINISHED]
    return (
        templates()
        .get_template("search.html")
        .render(
            record=record,
            run_id=run_id,
            css=(ASSETS / "page.css").read_text(encoding="utf-8"),
            lines=[*ranked, *others],
            ended={
                state: sum(line.state == state for line in record.trials)
                for state in ("finished", "pruned", "failed")
            },
            minutes=sum(line.minutes or 0.0 for line in record.trials),
            history=history_chart(record),
            importance=importance_chart(record.importance or {}),
            parallel=parallel_chart(record),
        )
    )
