"""The tiers of Open Cities: what becomes a scene, what is said, what is refused."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.optical.layouts.open_cities import find
from builtup.sensors.optical.raw_scenes import POLYGONS, refuse_twins
from helpers import real_data
from open_cities_data import LABEL_EXTENSION, item, read_json, write_json, write_tier

NONE = Allow()


def said(found):
    return [(remark.file, remark.what) for remark in found.remarks]


def change(path, **content):
    write_json(path, {**read_json(path), **content})


def test_tiers_are_splits_and_cities_sites(tmp_path):
    write_tier(tmp_path)
    write_tier(tmp_path, "train_tier_2", (("acc", "a2"),))
    found = find(tmp_path, NONE)
    assert found.problems == []
    assert [(s.name, s.site, s.split, s.role, s.date, s.labels_are) for s in found.scenes] == [
        ("a1", "acc", "train_tier_1", "labelled", "20191029", POLYGONS),
        ("k1", "kam", "train_tier_1", "labelled", "20191029", POLYGONS),
        ("a2", "acc", "train_tier_2", "incomplete", "20191029", POLYGONS),
    ]
    first = found.scenes[0]
    assert first.image == tmp_path / "train_tier_1/acc/a1/a1.tif"
    assert first.labels == tmp_path / "train_tier_1/acc/a1-labels/a1.geojson"
    what = "labels of train_tier_2 are incomplete: what they leave out is ignored, not ground"
    assert said(found) == [("a2.geojson", what)]


def test_a_tier_alone_and_a_catalogue_of_tiers(tmp_path):
    folder = write_tier(tmp_path, "train_tier_2")
    assert [s.split for s in find(folder, NONE).scenes] == ["train_tier_2"] * 2
    write_json(
        tmp_path / "catalog.json",
        {
            "id": "open-cities",
            "stac_version": "1.0.0",
            "links": [{"rel": "child", "href": "./train_tier_2/catalog.json"}],
        },
    )
    scenes = find(tmp_path, NONE).scenes
    assert [(s.site, s.split, s.complete) for s in scenes] == [
        ("acc", "train_tier_2", False), ("kam", "train_tier_2", False),
    ]  # fmt: skip


def test_labels_by_role_and_source_as_later_versions_have_them(tmp_path):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"),), version="1.0.0")
    image, labels = folder / "acc/a1/a1.json", folder / "acc/a1-labels/a1-labels.json"
    change(image, assets={"visual": {"href": "a1.tif", "roles": ["data"]}, "thumb": {"href": "t"}})
    write_json(
        labels,
        {
            **item("roofs", {"x": {"href": "a1.geojson", "roles": ["labels"]}}, "1.0.0"),
            "stac_extensions": [LABEL_EXTENSION],
            "links": [{"rel": "source", "href": "../a1/a1.json"}],
        },
    )
    found = find(folder, NONE)
    assert found.problems == []
    assert found.scenes[0].labels == folder / "acc/a1-labels/a1.geojson"


def test_images_without_labels(tmp_path):
    folder = write_tier(tmp_path)
    for name in ("a1.tif", "k1.tif"):
        target = tmp_path / "unlabelled" / f"more_{name}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(
            (
                folder / name[0].replace("a", "acc").replace("k", "kam") / name[:2] / name
            ).read_bytes()
        )
    (tmp_path / "unlabelled/x_mask.png").touch()
    found = find(tmp_path, NONE)
    assert [(s.name, s.site, s.split, s.role) for s in found.scenes[2:]] == [
        ("more_a1", "more_a1", "unlabelled", "unlabelled"),
        ("more_k1", "more_k1", "unlabelled", "unlabelled"),
    ]
    assert (
        "unlabelled/x_mask.png",
        "passed over, by the name a mask: layout=chips reads these",
    ) in said(found)
    assert [s.split for s in find(tmp_path / "unlabelled", NONE).scenes] == ["unlabelled"] * 2


def test_an_image_beside_the_tiers_is_named_and_the_tiers_are_read(tmp_path):
    write_tier(tmp_path)
    (tmp_path / "overview.png").touch()
    found = find(tmp_path, NONE)
    assert [s.role for s in found.scenes] == ["labelled", "labelled"]
    what = "passed over, in none of the folders of tiers or images"
    assert said(found) == [("overview.png", what)]


def test_a_catalogue_of_test_images_has_no_labels(tmp_path):
    folder = write_tier(tmp_path, "test", (("test", "t1"), ("test", "t2")))
    links = [{"rel": "item", "href": f"./t{i}/t{i}.json"} for i in (1, 2)]
    change(folder / "test/collection.json", links=links)
    found = find(tmp_path, NONE)
    assert [(s.name, s.site, s.split, s.role) for s in found.scenes] == [
        ("t1", "t1", "test", "unlabelled"), ("t2", "t2", "test", "unlabelled"),
    ]  # fmt: skip
    assert [(r.what, r.doubtful) for r in found.remarks] == [("no labels", False)] * 2


def test_an_image_of_a_catalogue_without_labels_is_said(tmp_path):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"),))
    path = folder / "acc/collection.json"
    change(path, links=[{"rel": "item", "href": "./a1/a1.json"}])
    found = find(tmp_path, NONE)
    assert [s.role for s in found.scenes] == ["unlabelled"]
    assert said(found) == [("a1.tif", "no labels")]


def test_the_real_data_and_the_catalogue_without_its_images():
    root = real_data("imagery/open_cities")
    found = find(root, NONE)
    assert found.problems == []
    assert [(s.name, s.site, s.split, s.role) for s in found.scenes] == [
        ("ban00n", "ban", "train_tier_1", "labelled"),
        ("kam00a", "kam", "train_tier_1", "labelled"),
        ("ban00p", "ban00p", "unlabelled", "unlabelled"),
    ]
    ((file, what),) = said(found)
    assert file == "real_catalogue_json/catalog.json"
    assert what.startswith("none of its 31 images is here (acc 4, dar 6, kam 1, mon 4, nia 1, ")
    assert what.endswith("nothing of it is imported")
    with pytest.raises(InputError, match=r"none of its 31 images is here .*; download the images"):
        find(root / "real_catalogue_json", NONE)


def test_a_link_off_the_machine_is_the_file_beside_the_item_where_it_was_downloaded(tmp_path):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"),))
    url = "https://bucket.example.org/train_tier_1/acc/a1/a1.tif?signed=1"
    change(folder / "acc/a1/a1.json", assets={"image": {"href": url}})
    found = find(tmp_path, NONE)
    assert found.scenes[0].image == folder / "acc/a1/a1.tif"
    (remark,) = found.remarks
    assert remark.what == "its link leaves this machine: the file of that name beside it is read"
    assert remark.detail == url.partition("?")[0]


# --- what is refused ------------------------------------------------------------------------------


def problems(root, allow=NONE):
    return [(problem.problem, problem.remedy) for problem in find(root, allow).problems]


def test_a_dead_link_to_an_image_or_to_labels(tmp_path):
    folder = write_tier(tmp_path)
    (folder / "acc/a1/a1.tif").unlink()
    (folder / "kam/k1-labels/k1.geojson").unlink()
    assert problems(tmp_path) == [
        ("item a1: a dead link, its image ./a1.tif is not there", "add it, or take the item out"),
        (
            "item k1-labels: a dead link, its labels ./k1.geojson is not there",
            "add it, or take the item out",
        ),
    ]


def test_one_image_of_many_that_is_elsewhere(tmp_path):
    folder = write_tier(tmp_path)
    url = "https://bucket.example.org/other.tif"
    change(folder / "acc/a1/a1.json", assets={"image": {"href": url}})
    assert problems(tmp_path) == [
        (f"item a1: its image is not here, but at {url}",
         "download it to other.tif beside the item"),
    ]  # fmt: skip


def test_two_images_of_one_id(tmp_path):
    write_tier(tmp_path)
    write_tier(tmp_path, "train_tier_2", (("dar", "a1"),))
    found = find(tmp_path, NONE)
    refuse_twins(found)
    (problem,) = found.problems
    assert problem.problem == (
        f"the scene a1 stands twice, here and in {tmp_path}/train_tier_1/acc/a1/a1.tif"
    )
    assert problem.path == f"{tmp_path}/train_tier_2/dar/a1/a1.tif"
    assert [s.site for s in found.scenes] == ["acc", "kam"]


def test_an_image_out_of_the_folder_needs_leave(tmp_path):
    folder = write_tier(tmp_path / "in")
    (folder / "acc/a1/a1.tif").rename(tmp_path / "a1.tif")
    change(folder / "acc/a1/a1.json", assets={"image": {"href": "../../../../a1.tif"}})
    ((problem, _),) = problems(tmp_path / "in")
    assert problem == f"points to {tmp_path}/a1.tif, outside {tmp_path}/in"
    found = find(tmp_path / "in", Allow.parse(str(tmp_path)))
    assert (found.problems, found.scenes[0].image) == ([], tmp_path / "a1.tif")


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        ({}, "item a1: 0 assets of its image (assets: none)"),
        ({"image": {}}, "item a1: 1 assets of its image (assets: image)"),
        (
            {"a": {"href": "a.tif", "roles": ["data"]}, "b": {"href": "b.tif", "roles": ["data"]}},
            "item a1: 2 assets of its image (assets: a, b)",
        ),
    ],
)
def test_an_item_without_one_image(tmp_path, assets, message):
    folder = write_tier(tmp_path)
    change(folder / "acc/a1/a1.json", assets=assets)
    assert [problem for problem, _ in problems(tmp_path)] == [message]


def test_labels_that_are_of_none_of_two_or_a_raster(tmp_path):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"), ("acc", "a2"), ("acc", "a3")))
    paths = [folder / f"acc/a{i}-labels/a{i}-labels.json" for i in (1, 2, 3)]
    change(paths[0], id="stranger")
    change(paths[1], properties={"label:type": "raster"})
    change(paths[2], links=[{"rel": "source", "href": "../a1/a1.json"}])
    extra = folder / "acc/a1-labels/second.json"
    write_json(extra, {**read_json(paths[0]), "id": "a1-labels"})
    links = read_json(folder / "acc/collection.json")["links"]
    change(
        folder / "acc/collection.json",
        links=[*links, {"rel": "item", "href": "./a1-labels/second.json"}],
    )
    assert [problem for problem, _ in problems(tmp_path)] == [
        "item stranger: labels of no image of the catalogue",
        "item a2-labels: labels that are a raster",
        f"item a1-labels: a1 has labels in {paths[2]}",
    ]


def test_labels_of_other_things_are_said(tmp_path):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"),))
    about = {"label:type": "vector", "label:properties": ["road"]}
    change(folder / "acc/a1-labels/a1-labels.json", properties=about)
    (remark,) = find(tmp_path, NONE).remarks
    assert remark.what == (
        "its labels are not said to be buildings: all polygons are taken for them"
    )
    assert remark.detail == "road"


def test_folders_without_anything(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(InputError, match=r"no catalog\.json and no images in it"):
        find(tmp_path, NONE)
