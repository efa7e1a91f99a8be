"""From predicted tiles to the polygons that are handed in: three steps under one name."""

from __future__ import annotations

from builtup.jobs.steps import Summary
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.polygonize import polygonize
from builtup.options import PolygonOptions
from builtup.runs.records import EnsembleRecord
from builtup.runs.results import resolve_results, upload_results

__all__ = ["to_submission"]


def to_submission(
    *,
    input_path: str = "",
    run_id: str = "",
    threshold: str = "",
    years: str = "apart",
    polygons: PolygonOptions = PolygonOptions(),
    num_workers: int = 2,
    on_error: str = "stop",
) -> list[Summary]:
    """Merge tiles, average the dates of each city, polygonise; return the summaries of the steps.

    There is nothing to merge in the result of `ensemble`.
    The set of predictions is looked up once, so that all work on the same one, and uploaded
    once, at the end, where the run's store is not local. Parameters as of the steps.
    """
    results = resolve_results(input_path, run_id)
    folder = str(results.folder)
    # an ensemble holds whole scenes, merged already
    merged = EnsembleRecord.find(results.folder) is not None
    summaries = [
        *(
            []
            if merged
            else [merge_tiles(input_path=folder, num_workers=num_workers, on_error=on_error)]
        ),
        all_agg_by_city(
            input_path=folder,
            threshold=threshold,
            years=years,
            num_workers=num_workers,
            on_error=on_error,
        ),
        polygonize(
            input_path=folder, polygons=polygons, num_workers=num_workers, on_error=on_error
        ),
    ]
    upload_results(results)
    return summaries
