"""The data set that `simulate` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.jobs.steps import Summary
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.dataset import simulate

SIZE = 96


def run(output: Path, **options: Any) -> Summary:
    settings = {"cities": 1, "test_cities": 0, "dates": 2, "size": SIZE, "num_workers": 1}
    return simulate(output_path=output, **{**settings, **options})


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".manifest" not in path.parts
    }


def polygons_of(city: Path) -> tuple[Any, dict[str, Any]]:
    (shape,) = city.glob("*.shp")
    meta, _, wkb, values = pyogrio.raw.read(shape)
    return shapely.from_wkb(wkb), {**meta, "values": values}


def truth_on(city: Path, scene: Path) -> np.ndarray:
    geometries, _ = polygons_of(city)
    with rasterio.open(scene) as dataset:
        shape, transform, epsg = dataset.shape, dataset.transform, dataset.crs.to_epsg()
    transformer = pyproj.Transformer.from_crs(4326, epsg, always_xy=True)
    projected = shapely.transform(
        geometries, lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1)
    )
    return rasterio.features.rasterize(
        projected, shape, transform=transform, all_touched=True
    ).astype(bool)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("simulated")
    run(output, cities=2, test_cities=1, dates=3)
    return output


def test_the_layout_is_found_without_a_problem(data: Path) -> None:
    train, test = scenes_of_split(data / "train"), scenes_of_split(data / "test")
    assert not train.problems
    assert not test.problems
    assert (len(train.scenes), len(test.scenes)) == (6, 3)
    assert len({scene.city_key for scene in train.scenes + test.scenes}) == 3
    assert len(train.ignored) == 12  # a BorderMask for each polarisation
    assert {scene.orbit for scene in train.scenes} == {"ASC", "DES"}
    for scene in train.scenes + test.scenes:
        assert (scene.files[0].parents[2] / f"{scene.city_key}.shp").exists()


def test_scenes_are_linear_power_on_grids_that_differ_a_little(data: Path) -> None:
    by_city: dict[str, list[Grid]] = {}
    for scene in scenes_of_split(data / "train").scenes:
        vv_path, vh_path = scene.files
        with rasterio.open(vv_path) as vv, rasterio.open(vh_path) as vh:
            assert vv.dtypes == ("float32",)
            assert vv.count == 1
            assert vv.crs.is_projected
            assert Grid.of(vv).matches(Grid.of(vh))
            by_city.setdefault(scene.city_key, []).append(Grid.of(vv))
            assert 0 < np.median(vh.read(1)) < np.median(vv.read(1)) < 1
    for grids in by_city.values():
        assert any(grid.shape == (SIZE, SIZE) for grid in grids)
        assert len({grid.transform for grid in grids}) == 3
        for grid in grids:
            assert max(abs(side - SIZE) for side in grid.shape) <= 2
            assert abs(grid.bounds[0] - grids[0].bounds[0]) < 10


def test_cities_lie_far_apart(data: Path) -> None:
    boxes = []
    for split in ("train", "test"):
        for folder in (data / split).iterdir():
            geometries, _ = polygons_of(folder)
            boxes.append(shapely.box(*shapely.total_bounds(geometries)))
    for i, box in enumerate(boxes):
        assert all(box.distance(other) > 1 for other in boxes[:i])  # degrees


def test_polygons_are_marked_as_unosat_marked_them(data: Path) -> None:
    for folder in (data / "train").iterdir():
        geometries, meta = polygons_of(folder)
        assert meta["crs"] == "EPSG:4326"
        assert list(meta["fields"]) == ["DN"]
        assert (meta["values"][0] == 255).all()
        assert shapely.is_valid(geometries).all()


def test_the_town_stays_where_the_land_changes(data: Path) -> None:
    scenes = scenes_of_split(data / "train").scenes
    files = [scene.files[0] for scene in scenes if scene.city == "Ardena"]
    city = files[0].parents[2]
    shares = [truth_on(city, file).mean() for file in files]
    assert min(shares) > 0.01
    assert max(shares) - min(shares) < 0.05  # shifted grids touch a few more pixels
    inside, outside = [], []
    for file in files:
        with rasterio.open(file) as dataset:
            power = dataset.read(1)
        mask, valid = truth_on(city, file), power != 0
        inside.append(power[mask & valid].mean())
        outside.append(power[~mask & valid].mean())
    assert (np.array(inside) > 1.1 * np.array(outside)).all()
    assert max(inside) / min(inside) < max(outside) / min(outside)


def test_bordermasks_say_where_no_data_are(tmp_path: Path) -> None:
    run(tmp_path, dates=6, size=64)
    wedges = 0
    for scene in scenes_of_split(tmp_path / "train").scenes:
        for path in scene.files:
            with rasterio.open(path) as dataset:
                power = dataset.read(1)
            with rasterio.open(path.with_name(f"{path.stem}_BorderMask.tif")) as dataset:
                border = dataset.read(1)
            assert border.dtype == np.uint8
            np.testing.assert_array_equal(border == 0, power == 0)
        wedges += bool((border == 0).any())
    assert 0 < wedges < 6


def test_the_same_seed_gives_the_same_bytes_however_many_cities(data: Path, tmp_path: Path) -> None:
    run(tmp_path, cities=1, dates=3, num_workers=2)
    known = {k: v for k, v in digests(data).items() if "Ardena" in k}
    assert digests(tmp_path) == known


def test_another_seed_gives_another_city(data: Path, tmp_path: Path) -> None:
    run(tmp_path, dates=3, seed=-7)
    known = digests(data)
    scenes = {k: v for k, v in digests(tmp_path).items() if "_vv_" in k and "Border" not in k}
    assert scenes
    assert not any(known.get(name) == digest for name, digest in scenes.items())


def test_a_second_run_does_nothing_and_a_changed_setting_redoes_all(tmp_path: Path) -> None:
    assert run(tmp_path, dates=2).done == 1
    before = digests(tmp_path)
    again = run(tmp_path, dates=2)
    assert (again.done, again.up_to_date) == (0, 1)
    assert "nothing to do" in again.line()
    assert run(tmp_path, dates=1).done == 1
    after = digests(tmp_path)
    assert len(scenes_of_split(tmp_path / "train").scenes) == 1  # no stale date stays behind
    first = {k: v for k, v in after.items() if k.endswith(".tif")}
    assert first.items() <= before.items()


def test_a_lost_file_is_noticed(tmp_path: Path) -> None:
    run(tmp_path, dates=1)
    before = digests(tmp_path)
    scenes_of_split(tmp_path / "train").scenes[0].files[0].unlink()
    assert run(tmp_path, dates=1).done == 1
    assert digests(tmp_path) == before


def test_footprint_labels_are_the_buildings(tmp_path: Path) -> None:
    run(tmp_path / "a", dates=1)
    run(tmp_path / "b", dates=1, labels="footprints")
    (wide,), (narrow,) = ((tmp_path / k / "train").iterdir() for k in "ab")
    scene = next(narrow.glob("**/*_vv_*[0-9].tif"))
    builtup, footprints = truth_on(wide, scene), truth_on(narrow, scene)
    assert len(polygons_of(narrow)[0]) > len(polygons_of(wide)[0])
    assert 0 < footprints.sum() < builtup.sum()
    assert (builtup[footprints]).mean() > 0.95


@pytest.fixture
def make_footprints(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "houses.gpkg", crs: str | None = "EPSG:2154", height: float = 9) -> Path:
        x = np.arange(8) * 40.0
        corners = np.stack(np.meshgrid(x + 664_000, x + 6_360_000), axis=-1).reshape(-1, 2)
        houses = shapely.box(*corners.T, *(corners + 15).T)
        path = tmp_path / name
        pyogrio.raw.write(
            path,
            shapely.to_wkb(houses),
            [np.full(len(houses), height)],
            fields=["hauteur"],
            geometry_type="Polygon",
            crs=crs,
        )
        return path

    return write


def test_footprints_from_a_file_take_the_place_of_the_plan(
    tmp_path: Path, make_footprints: Callable[..., Path]
) -> None:
    path = make_footprints()
    run(tmp_path / "out", dates=1, footprints=str(path), labels="footprints")
    (city,) = (tmp_path / "out/train").iterdir()
    geometries, _ = polygons_of(city)
    assert len(geometries) == 64
    scene = next(city.glob("**/*_vv_*[0-9].tif"))
    with rasterio.open(scene) as dataset:
        middle = dataset.bounds
    transformer = pyproj.Transformer.from_crs(4326, rasterio.open(scene).crs, always_xy=True)
    at = transformer.transform(*shapely.union_all(geometries).envelope.centroid.coords[0])
    assert abs(at[0] - (middle.left + middle.right) / 2) < 10
    assert run(tmp_path / "out", dates=1, footprints=str(path), labels="footprints").done == 0
    make_footprints(height=20)
    assert run(tmp_path / "out", dates=1, footprints=str(path), labels="footprints").done == 1


def test_footprints_that_cannot_be_used_are_named(
    tmp_path: Path, make_footprints: Callable[..., Path]
) -> None:
    broken = tmp_path / "broken.gpkg"
    broken.write_bytes(b"no vector file")
    bare = make_footprints("bare.shp", crs=None)
    empty = tmp_path / "folder"
    empty.mkdir()
    for path, problem in (
        (broken, "not a readable vector file"),
        (bare, "no CRS"),
        (tmp_path / "missing.shp", "no such file"),
        (empty, "no vector file"),
    ):
        with pytest.raises(InputError, match=problem) as error:
            run(tmp_path / "out", footprints=str(path))
        assert path.name in str(error.value)
        assert not list((tmp_path / "out").rglob("*.tif"))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "train/Ardena_2015/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="not simulated"):
        run(tmp_path)
    assert mine.read_text() == "mine"
    assert not (mine.parent / SIMULATED).exists()


def test_mixed_towns_are_plain_and_wide_in_turn(tmp_path: Path) -> None:
    how = {"cities": 2, "test_cities": 0, "dates": 1, "size": 64, "num_workers": 1}
    for variety in ("plain", "wide", "mixed"):
        simulate(output_path=tmp_path / variety, variety=variety, **how)
    same = {"plain": 0, "wide": 0}
    for vv in (tmp_path / "mixed").rglob("s1a_*_vv_*[0-9].tif"):
        for variety in same:
            other = tmp_path / variety / vv.relative_to(tmp_path / "mixed")
            same[variety] += other.is_file() and other.read_bytes() == vv.read_bytes()
    assert same == {"plain": 1, "wide": 1}


def test_a_variety_or_shift_is_recorded_only_where_given(tmp_path: Path) -> None:
    given: dict[str, dict[str, Any]] = {
        "plain": {},
        "wide": {"variety": "wide"},
        "moved": {"variety": "wide", "shift": "sensor"},
    }
    pictures = set()
    for name, options in given.items():
        assert run(tmp_path / name, dates=1, size=64, **options).done == 1
        assert run(tmp_path / name, dates=1, size=64, **options).up_to_date == 1
        (marker,) = (tmp_path / name).glob(f"*/*/{SIMULATED}")
        recorded = json.loads(marker.read_text())["settings"]
        assert {k: v for k, v in recorded.items() if k in ("variety", "shift")} == options
        scene = scenes_of_split(tmp_path / name / "train").scenes[0].files[0]
        pictures.add(hashlib.sha256(scene.read_bytes()).hexdigest())
    assert len(pictures) == 3
    assert run(tmp_path / "plain", dates=1, size=64, shift="season").done == 1


@pytest.mark.parametrize(
    "options",
    [
        {"labels": "roofs"},
        {"variety": "vast"},
        {"shift": "time"},
        {"size": 8},
        {"dates": 0},
        {"cities": -1},
        {"dates": 9999},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BuiltupError, match=next(iter(options))):
        run(tmp_path, **options)
    assert not list(tmp_path.iterdir())
