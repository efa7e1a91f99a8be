"""Inputs and outputs in an object store: moto's server on this machine."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from builtup import cli
from builtup.errors import BuiltupError, FileError, InputError, OutputError
from builtup.jobs import executors, steps, store
from builtup.jobs.cluster import _may_pass
from builtup.jobs.files import atomic_directory
from builtup.jobs.retries import Retries
from builtup.jobs.steps import Job, Step, run_step
from builtup.jobs.store import Store, mirrored, s3_endpoint
from helpers import write_scene

STEP = Step("upper", 1)
SOON = Retries((0.01, 0.01))


def keys(bucket: Any) -> list[str]:
    return sorted(item.key for item in bucket.objects.all())


def upper(job: Job) -> dict[str, int]:
    """The work of these tests: a file, and a folder of files, of the input's text."""
    text = job.inputs[0].read_text()
    file, folder = job.outputs
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.upper())
    with atomic_directory(folder) as beside:
        for number, letter in enumerate(text):
            (beside / f"{number}.txt").write_text(letter)
    return {"letters": len(text)}


def a_job(mirror: Path) -> Job:
    out = mirror / "out"
    return Job("a", (mirror / "in/a.txt",), (out / "a.txt", out / "a_letters"), {})


def run(job_of: Any = a_job) -> steps.Summary:
    with mirrored({"path": "s3://maps/x"}, ["path"]) as options:
        return run_step(STEP, [job_of(Path(options["path"]))], upper)


def test_outputs_and_manifest_are_put_and_done_is_decided_by_the_store(bucket: Any) -> None:
    bucket.put_object(Key="x/in/a.txt", Body=b"abc")
    assert run().done == 1
    letters = [f"x/out/a_letters/{number}.txt" for number in range(3)]
    manifest = "x/out/.manifest/a.txt.json"
    assert keys(bucket) == sorted([manifest, "x/in/a.txt", "x/out/a.txt", *letters])
    assert run().up_to_date == 1
    shutil.rmtree("output")  # another machine
    assert run().up_to_date == 1
    bucket.Object("x/out/a.txt").delete()
    assert run().done == 1


def test_a_changed_object_redoes_its_job_and_old_files_of_a_folder_go(bucket: Any) -> None:
    bucket.put_object(Key="x/in/a.txt", Body=b"abc")
    run()
    bucket.put_object(Key="x/in/a.txt", Body=b"de")
    assert run().done == 1
    assert bucket.Object("x/out/a.txt").get()["Body"].read() == b"DE"
    assert "x/out/a_letters/2.txt" not in keys(bucket)


def test_the_manifest_is_put_last_and_goes_first(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="x/in/a.txt", Body=b"abc")
    run()
    bucket.put_object(Key="x/in/a.txt", Body=b"defg")  # another size: times are whole seconds

    def fails(self: Store, path: Path) -> None:
        raise OutputError(self.shown(path), "cannot be written", "wait")

    monkeypatch.setattr(Store, "put", fails)
    with pytest.raises(OutputError, match=r"s3://maps/x/out/a\.txt: cannot be written"):
        run()
    assert "x/out/.manifest/a.txt.json" not in keys(bucket)


def test_a_worker_fetches_what_it_lacks(bucket: Any) -> None:
    bucket.put_object(Key="x/in/a.txt", Body=b"abc")
    place = Store.of("s3://maps/x")
    _, counts, error = steps._run_job(STEP, upper, (place,), a_job(place.mirror))
    assert (counts, error) == ({"letters": 3}, None)
    manifest = json.loads(bucket.Object("x/out/.manifest/a.txt.json").get()["Body"].read())
    assert manifest["outputs"][1] == {"name": "a_letters", "files": 3, "size": 3}


def test_what_a_command_writes_besides_is_put_at_its_end(bucket: Any) -> None:
    with mirrored({"path": "s3://maps/x"}, ["path"]) as options:
        folder = Path(options["path"])
        folder.mkdir(parents=True)
        (folder / "list.csv").write_text("a")
        (folder / ".list.0123abcd-1.partial.csv").write_text("half")
    assert keys(bucket) == ["x/list.csv"]


def test_what_the_store_does_not_hold_is_removed_from_the_mirror(bucket: Any) -> None:
    ghost = Store.of("s3://maps/x").mirror / "ghost.tif"
    ghost.parent.mkdir(parents=True)
    ghost.write_text("old")
    with mirrored({"path": "s3://maps/x"}, ["path"]):
        assert not ghost.exists()
    assert keys(bucket) == []


@pytest.mark.parametrize("name", ["input_path", "output_path"])
def test_a_bucket_that_is_not_there_is_one_line_before_any_work(bucket: Any, name: str) -> None:
    with (
        pytest.raises(InputError, match=r"s3://none: no such bucket; check its name"),
        mirrored({name: "s3://none/x"}, [name]),
    ):
        pytest.fail("work began")


def test_an_input_where_nothing_lies_is_named_by_its_url(bucket: Any) -> None:
    with (
        pytest.raises(InputError, match=r"^s3://maps/x: no object below it"),
        mirrored({"input_path": "s3://maps/x"}, ["input_path"]),
    ):
        pytest.fail("work began")


@pytest.mark.parametrize("url", ["https://maps/x", "https:/maps/x", "S3://maps/x"])
def test_urls_of_other_kinds_are_no_folders(bucket: Any, url: str) -> None:
    with (
        pytest.raises(InputError, match="no object store that is written to; give a folder, s3:"),
        mirrored({"path": url}, ["path"]),
    ):
        pytest.fail("work began")


def test_an_endpoint_of_another_protocol_is_one_line(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._filesystem.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://here")
    with pytest.raises(BuiltupError, match=r"AWS_ENDPOINT_URL=ftp://here: no address of a store"):
        Store.of("s3://maps/x").pull()


@pytest.mark.parametrize("key", ["x/a//b.txt", "x/../../b.txt", "x/./b.txt"])
def test_an_object_that_no_path_stands_for_is_named(bucket: Any, key: str) -> None:
    bucket.put_object(Key=key, Body=b"a")
    with pytest.raises(InputError, match=rf"s3://maps/{re.escape(key)}.*(name|Empty path)"):
        Store.of("s3://maps/x").pull()
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_marks_of_folders_and_odd_names_are_mirrored(bucket: Any) -> None:
    names = ["a/b ü+%20#é.txt", "a b/c.txt"]
    for key in ("x/", "x/a/", "xa/other.txt", *(f"x/{name}" for name in names)):
        bucket.put_object(Key=key, Body=b"" if key.endswith("/") else b"a")
    place = Store.of("s3://maps/x")
    assert place.pull() == 2
    found = {path for path in place.mirror.rglob("*") if path.is_file()}
    assert found == {place.mirror / name for name in names}


def test_times_of_a_list_may_be_finer_than_those_of_an_object(bucket: Any) -> None:
    bucket.put_object(Key="x/a.txt", Body=b"abc")
    place = Store.of("s3://maps/x")
    place.pull()
    path = place.mirror / "a.txt"
    second = path.stat().st_mtime_ns
    for here, there in ((0, 123_000_000), (123_000_000, 0), (123_000_000, 123_000_000)):
        os.utime(path, ns=(second + here, second + here))
        assert store._is_current(path, SimpleNamespace(size=3, mtime_ns=second + there))
    for here, there in ((0, 1_000_000_000), (123_000_000, 124_000_000)):
        os.utime(path, ns=(second + here, second + here))
        assert not store._is_current(path, SimpleNamespace(size=3, mtime_ns=second + there))


def test_a_command_says_once_what_it_fetches_and_not_where_credentials_lie(
    bucket: Any, tmp_path: Path
) -> None:
    for path in write_scene(tmp_path / "train"):
        bucket.upload_file(str(path), f"in/{path.relative_to(tmp_path / 'train')}")
    script = "from builtup.cli import main; main()"
    options = ["--input_path", "s3://maps/in", "--output_path", "s3://maps/3b"]
    command = [sys.executable, "-c", script, "generate_3b_images", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    clock = r"\d\d:\d\d:\d\d"
    said = rf"{clock} INFO: fetching 2 files from s3://maps/in\n"
    first = r"s3://maps/in/Alpha_2015/20150101_38SLF/s1a_38SLF_vv_ASC_20150101.tif"
    said += rf"{clock} INFO: {first} and 1 more: taken as power \(.*\)\n"
    assert re.fullmatch(said, ended.stderr), ended.stderr


def failing(monkeypatch: pytest.MonkeyPatch, error: OSError, times: int) -> list[str]:
    """Let the next copies to or from the store fail; the list grows with each."""
    tries, copy = list[str](), store._copy

    def fails(source: str, *where: Any) -> None:
        tries.append(source)
        if len(tries) <= times:
            raise error
        copy(source, *where)

    monkeypatch.setattr(store, "_copy", fails)
    return tries


BUSY = OSError("When reading key 'a' in bucket 'maps': AWS Error SLOW_DOWN during GetObject")


def test_what_a_network_fails_is_tried_again(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_object(Key="x/a.txt", Body=b"abc")
    tries = failing(monkeypatch, BUSY, 2)
    place = replace(Store.of("s3://maps/x"), retries=SOON)
    assert place.pull() == 1
    assert (place.mirror / "a.txt").read_text() == "abc"
    assert len(tries) == 3
    assert caplog.text.count("s3://maps/x/a.txt: When reading key") == 2


def test_in_the_end_it_is_named_and_may_pass_elsewhere(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="x/a.txt", Body=b"abc")
    failing(monkeypatch, BUSY, 9)
    with pytest.raises(InputError, match=r"s3://maps/x/a\.txt: cannot be read .*SLOW_DOWN") as e:
        replace(Store.of("s3://maps/x"), retries=SOON).pull()
    assert _may_pass(e.value)  # so another worker tries


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("AWS Error ACCESS_DENIED during GetObject"), "check the bucket, the credentials"),
        (OSError(errno.ENOSPC, "Error writing bytes to file"), "the disk is full: free some space"),
    ],
)
def test_what_does_not_pass_is_named_at_once(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    bucket.put_object(Key="x/a.txt", Body=b"abc")
    tries = failing(monkeypatch, error, 9)
    with pytest.raises(FileError, match=message):
        replace(Store.of("s3://maps/x"), retries=SOON).pull()
    assert len(tries) == 1


def test_outputs_that_cannot_be_fetched_are_skipped_with_the_others_done(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Remote:
        remote = True

        def run(self, name: str, call: Any, jobs: Any) -> Iterator[Any]:
            yield from map(call, jobs)

    def fails(self: Store, path: Path) -> None:
        if path.name == "a.txt" and path.parent.name == "out":
            raise InputError(self.shown(path), "cannot be read", "wait")

    bucket.put_object(Key="x/in/a.txt", Body=b"abc")
    monkeypatch.setattr(Store, "fetch", fails)
    with mirrored({"path": "s3://maps/x"}, ["path"]) as options, executors.using(Remote()):
        summary = run_step(STEP, [a_job(Path(options["path"]))], upper, on_error="skip")
    assert [str(e) for e in summary.skipped] == ["s3://maps/x/out/a.txt: cannot be read; wait"]


@pytest.mark.parametrize("url", ["s3://maps/../x", "s3://maps/a//b", "s3://"])
def test_urls_that_lead_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="give s3://bucket/prefix"):
        Store.of(url)


def test_a_step_of_the_command_line_reads_and_writes_the_store(bucket: Any, tmp_path: Path) -> None:
    for path in write_scene(tmp_path / "train"):
        bucket.upload_file(str(path), f"in/{path.relative_to(tmp_path / 'train')}")
    command = [
        "generate_3b_images",
        "--input_path",
        "s3://maps/in",
        "--output_path",
        "s3://maps/3b",
    ]
    first, second = (CliRunner().invoke(cli.cli, command) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output.startswith("generate_3b_images: 1 scene,")
    assert "nothing to do, 1 scene up to date" in second.output
    local = ["generate_3b_images", "--input_path", "train", "--output_path", "here"]
    assert CliRunner().invoke(cli.cli, local).exit_code == 0
    name = "Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif"
    assert bucket.Object(f"3b/{name}").get()["Body"].read() == Path("here", name).read_bytes()


def test_what_is_wrong_with_an_object_names_its_url(
    bucket: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_object(Key="in/Alpha_2015/s1a_38SLF_vv_ASC_20150101.tif", Body=b"none")
    bucket.put_object(Key="in/Alpha_2015/s1a_38SLF_vh_ASC_20150101.tif", Body=b"none")
    command = ["generate_3b_images", "--input_path", "s3://maps/in", "--output_path", "out"]
    with pytest.raises(InputError) as e:
        CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert str(e.value).startswith("s3://maps/in/Alpha_2015/s1a_38SLF_v")
    assert "stores" not in str(e.value)
    skipping = CliRunner().invoke(cli.cli, [*command, "--on_error", "skip"])
    assert "skipped: s3://maps/in/Alpha_2015/s1a_38SLF_v" in caplog.text, skipping.output


def test_an_object_below_which_others_lie_is_named(bucket: Any) -> None:
    for key in ("x/a", "x/a/b/c"):
        bucket.put_object(Key=key, Body=b"abc")
    with pytest.raises(InputError, match=r"^s3://maps/x/a: an object, and a folder for .*/a/b/c;"):
        run()


@pytest.fixture
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def test_amazon_s_own_endpoint_needs_nothing(no_endpoint: None) -> None:
    assert s3_endpoint() is None


def test_the_endpoint_of_s3_comes_first(no_endpoint: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    assert s3_endpoint() == ("https", "all.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000/")
    assert s3_endpoint() == ("http", "127.0.0.1:9000")
