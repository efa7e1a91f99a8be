"""The layouts of the ISPRS benchmarks: names, and the real crop of Vaihingen."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from PIL import Image

from builtup.errors import InputError
from builtup.sensors.optical.cameras import IRRG, RGB
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.sensors.optical.label_colours import Counts, from_colours
from builtup.sensors.optical.layouts import LAYOUTS
from builtup.sensors.optical.layouts.isprs import CLASSES
from helpers import real_data, write_raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def find(layout, root):
    return LAYOUTS[layout].find(root, ())


def short(found, root):
    def place(path):
        return path and str(path.relative_to(root))

    return [(s.name, s.site, place(s.image), place(s.labels)) for s in found.scenes]


def said(found):
    return [(remark.file, remark.what.partition(",")[0]) for remark in found.remarks]


def test_vaihingen_as_it_is_published(tmp_path):
    name = "top_mosaic_09cm_area"
    eroded = "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE"
    root = made(
        tmp_path,
        *(f"top/{name}1.tif", f"top/{name}10.tif", f"top/{name}2.tif"),
        *(f"gts_for_participants/{name}1.tif", f"{eroded}/{name}1_noBoundary.tif"),
        *(f"{eroded}/{name}2_noBoundary.tif", "dsm/dsm_09cm_matching_area1.tif"),
    )
    found = find("vaihingen", root)
    assert short(found, root) == [
        (f"{name}1", f"{name}1", f"top/{name}1.tif", f"gts_for_participants/{name}1.tif"),
        (f"{name}10", f"{name}10", f"top/{name}10.tif", None),
        (f"{name}2", f"{name}2", f"top/{name}2.tif", f"{eroded}/{name}2_noBoundary.tif"),
    ]
    assert {scene.sensor for scene in found.scenes} == {IRRG}
    assert said(found) == [
        ("dsm/dsm_09cm_matching_area1.tif", "passed over"),
        (f"{eroded}/{name}1_noBoundary.tif", "passed over"),
        (f"{name}10", "no labels"),
    ]


def test_potsdam_takes_natural_colours_where_there_are(tmp_path):
    name = "top_potsdam_2_1"
    root = made(
        tmp_path,
        *(f"2_Ortho_RGB/{name}0_RGB.tif", f"3_Ortho_IRRG/{name}0_IRRG.tif"),
        *(f"3_Ortho_IRRG/{name}1_IRRG.tif", f"4_Ortho_RGBIR/{name}0_RGBIR.tif"),
        *(f"5_Labels_all/{name}0_label.tif", f"5_Labels_all/{name}2_label.tif"),
        f"5_Labels_all_noBoundary/{name}0_label_noBoundary.tif",
    )
    found = find("potsdam", root)
    assert short(found, root) == [
        (f"{name}0", f"{name}0", f"2_Ortho_RGB/{name}0_RGB.tif", f"5_Labels_all/{name}0_label.tif"),
        (f"{name}1", f"{name}1", f"3_Ortho_IRRG/{name}1_IRRG.tif", None),
    ]
    assert [scene.sensor for scene in found.scenes] == [RGB, IRRG]
    assert len(said(found)) == 5  # three of the first, no labels of the second, labels of none


def test_nothing_of_the_benchmark(tmp_path):
    made(tmp_path, "images/a.tif")
    with pytest.raises(InputError, match=r"no pictures top_mosaic_09cm_area<N>\.tif in it"):
        find("vaihingen", tmp_path)


def test_a_scene_twice(tmp_path):
    name = "top_mosaic_09cm_area1.tif"
    found = find("vaihingen", made(tmp_path, f"a/{name}", f"b/{name}"))
    assert ["stands twice" in problem.problem for problem in found.problems] == [True]


def test_black_and_unknown_colours_are_ignored_and_counted():
    pixels = [(0, 0, 255), (255, 0, 0), (0, 0, 0), (0, 0, 3), (128, 128, 128), (255, 255, 255)]
    rgb = np.array(pixels, np.uint8).T.reshape(3, 1, 6)
    counts = Counts()
    assert from_colours(rgb, CLASSES, counts).tolist() == [[1, 5, 255, 255, 255, 0]]
    assert (counts.ignored, counts.mixed, counts.unknown) == (2, 1, {"128,128,128": 1})
    assert CLASSES.scored == (0, 1, 2, 3, 4)


def test_layers_say_that_they_are_of_near_infrared(tmp_path):
    name = "top_mosaic_09cm_area7.tif"
    values = np.random.default_rng(0).integers(1, 256, (3, 40, 50), dtype=np.uint8)
    write_raster(tmp_path / "in/images" / name, values, transform=None, crs=None)
    (tmp_path / "in/labels").mkdir()
    labels = np.zeros((40, 50, 3), np.uint8)
    labels[:20] = CLASSES.colours[3]
    Image.fromarray(labels).save(tmp_path / "in/labels" / name)
    summary = import_scenes(
        input_path=tmp_path / "in",
        output_path=tmp_path / "out",
        layout="vaihingen",
        num_workers=1,
    )
    assert summary.counts["label pixels of ignored colours"] == 1000
    stem = name.removesuffix(".tif")
    with rasterio.open(tmp_path / "out/images" / stem / f"{stem}_image.tif") as image:
        assert image.tags()["BUILTUP_SENSOR"] == "irrg"
        assert image.tags()["BUILTUP_METRES"] == "0.09"
        assert image.descriptions == ("nir", "red", "green", "alpha")
        assert (image.read([1, 2, 3]) == values).all()
    with rasterio.open(tmp_path / "out/masks" / stem / f"{stem}_mask.tif") as mask:
        assert mask.tags()["BUILTUP_UNSCORED"] == "clutter"
        assert (mask.read(1)[:20] == 3).all() and (mask.read(1)[20:] == 255).all()


def test_the_real_crop(tmp_path):
    root = real_data("imagery/weak/vaihingen")
    summary = import_scenes(
        input_path=root, output_path=tmp_path, layout="vaihingen", num_workers=1
    )
    name = "top_mosaic_09cm_area1"
    with rasterio.open(tmp_path / "masks" / name / f"{name}_mask.tif") as mask:
        counts = np.bincount(mask.read(1).ravel(), minlength=256)
    assert counts[:6].tolist() == [135362, 79847, 16532, 4908, 4212, 0]
    assert counts[255] == summary.counts["label pixels of ignored colours"] == 21283
