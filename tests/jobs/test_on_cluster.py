"""The option `scheduler`, and folders that are addresses."""

from __future__ import annotations

from contextlib import contextmanager

import click
from click.testing import CliRunner

from builtup.jobs import cluster, store
from builtup.jobs.on_cluster import data_step, on_cluster


def test_a_command_runs_within_its_cluster_and_with_local_folders(monkeypatch):
    seen = []

    @contextmanager
    def connected(scheduler):
        seen.append(("connected", scheduler))
        yield

    @contextmanager
    def mirrored(options, paths):
        seen.append(("mirrored", paths))
        yield {**options, "output_path": "here"}

    monkeypatch.setattr(cluster, "connected", connected)
    monkeypatch.setattr(store, "mirrored", mirrored)

    @click.command()
    @click.option("--output_path")
    @on_cluster("output_path")
    def command(output_path):
        click.echo(output_path)

    arguments = ["--output_path", "s3://bucket", "--scheduler", "tcp://there"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).output == "here\n"
    assert seen == [("mirrored", ("output_path",)), ("connected", "tcp://there")]
    CliRunner().invoke(command, [], catch_exceptions=False)
    assert seen[-1] == ("connected", "")


def test_a_data_step_has_the_options_of_its_work_and_of_where_it_is_done():
    @click.command()
    @data_step
    def command(**options):
        """Never called."""

    assert [option.name for option in command.params] == ["num_workers", "on_error", "scheduler"]
