"""Inputs and outputs in an object store: moto's server on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builtup import cli, steps
from builtup.errors import InputError, OutputError
from builtup.files import atomic_directory
from builtup.steps import Job, Step, run_step
from builtup.store import Store, mirrored
from helpers import write_scene

STEP = Step("upper", 1)


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


def test_a_bucket_that_is_not_there_is_one_line(bucket: Any) -> None:
    with (
        pytest.raises(OutputError, match=r"s3://none/x/.*cannot be written in the store"),
        mirrored({"path": "s3://none/x"}, ["path"]) as options,
    ):
        Path(options["path"]).mkdir(parents=True)
        Path(options["path"], "a.txt").write_text("a")


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
    assert first.output.startswith("generate_3b_images: 1 scenes")
    assert "nothing to do, 1 scenes up to date" in second.output
    local = ["generate_3b_images", "--input_path", "train", "--output_path", "here"]
    assert CliRunner().invoke(cli.cli, local).exit_code == 0
    name = "Alpha_2015/s1a_38SLF_3b_ASC_20150101.tif"
    assert bucket.Object(f"3b/{name}").get()["Body"].read() == Path("here", name).read_bytes()
