"""What all tests share: short runs of Hypothesis that repeat themselves, one quiet environment."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# workers of a cluster start in a tenth of the time
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="builtup-tests-")  # digests of this run only

settings.register_profile(
    "builtup",
    deadline=None,  # two cores, shared: time says nothing
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("builtup")


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's own migrations make the tables of a new database, 1.4 s each time: here once, and
    every other database of this process begins as a copy of those empty tables."""
    if "mlflow" not in sys.modules:  # nothing that was collected wants it
        yield
        return
    import sqlalchemy
    from mlflow.store.db import utils

    migrate, template = utils._initialize_tables, tmp_path_factory.mktemp("mlflow") / "empty.db"

    def copied(engine: sqlalchemy.Engine) -> None:
        if engine.dialect.name != "sqlite" or not engine.url.database:
            migrate(engine)
            return
        if not template.is_file():
            first = sqlalchemy.create_engine(f"sqlite:///{template}")
            migrate(first)
            first.dispose()
        engine.dispose()
        shutil.copyfile(template, engine.url.database)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copied)
        yield


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """The address of an object store on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `maps`, named by the environment; the working folder is a new one."""
    import boto3

    from builtup.jobs import store

    for name, value in {
        "AWS_ENDPOINT_URL": object_store,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    store._filesystem.cache_clear()
    bucket = boto3.resource("s3").create_bucket(Bucket="maps")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    store._filesystem.cache_clear()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tracking database: its first start takes seconds."""
    from builtup.runs import tracking

    root = tmp_path_factory.mktemp("project")
    tracking.setup(root)
    return root


@pytest.fixture
def project(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project with its database, made the current one."""
    from builtup.runs import tracking

    monkeypatch.chdir(database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
    tracking.client()  # earlier tests may have looked elsewhere
    return database
