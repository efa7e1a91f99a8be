"""The option by which a command's jobs run on a cluster, and its folders lie in object stores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import click

from builtup.options import F, work

__all__ = ["data_step", "on_cluster"]


def data_step(function: F) -> F:
    """All options of a data step: those of its work, and where it is done."""
    return work(on_cluster()(function))


def on_cluster(*paths: str) -> Callable[[F], F]:
    """Option `scheduler`: the jobs of the command's steps run on a cluster, and the options named
    in `paths` (every folder's by default) may be URLs of an object store, mirrored meanwhile."""
    paths = paths or ("input_path", "output_path", "tiles_path")

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*, scheduler: str, **options: Any) -> Any:
            from builtup.jobs.cluster import connected
            from builtup.jobs.store import mirrored

            with mirrored(options, paths) as local, connected(scheduler):
                return function(**local)

        return click.option(
            "--scheduler",
            default="",
            help="address of a Dask cluster (tcp://…); this machine by default",
        )(cast(F, command))

    return decorate
