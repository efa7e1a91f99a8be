"""STAC documents and catalogues: links followed within a folder, what is no catalogue refused."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.stac import items_of, read_catalogue, read_document
from helpers import real_data
from open_cities_data import item, read_json, write_catalogue, write_json, write_tier

NONE = Allow()


def read(folder, allow=NONE, root=None):
    return read_catalogue(folder / "catalog.json", root or folder.parent, allow)


def problems_of(folder, allow=NONE):
    return [str(problem) for problem in read(folder, allow).problems]


def test_items_in_the_order_of_the_links_with_what_they_lie_in(tmp_path):
    catalogue = read(write_tier(tmp_path))
    assert catalogue.problems == []
    assert [(of.id, of.parents) for of in catalogue.items] == [
        ("a1", ("train_tier_1", "acc")), ("a1-labels", ("train_tier_1", "acc")),
        ("k1", ("train_tier_1", "kam")), ("k1-labels", ("train_tier_1", "kam")),
    ]  # fmt: skip


def test_the_real_catalogue_is_whole():
    catalogue = read(real_data("imagery/open_cities") / "real_catalogue_json")
    assert catalogue.problems == []
    assert len(catalogue.items) == 62
    assert {of.parents[-1] for of in catalogue.items} == {
        "acc", "dar", "kam", "mon", "nia", "ptn", "znz",
    }  # fmt: skip


@pytest.mark.parametrize("version", ["0.8.1", "0.9.0", "1.0.0-rc.1", "1.0.0", "1.1.0", "1.1"])
def test_versions_that_are_read(tmp_path, version):
    catalogue = read(write_tier(tmp_path, version=version))
    assert (len(catalogue.items), catalogue.problems) == (4, [])


@pytest.mark.parametrize("version", ["0.8.0", "0.6.2", "1.2.0", "2.0.0", "new", "", None, 1])
def test_other_versions_are_refused(tmp_path, version):
    catalogue = read(write_tier(tmp_path, version=version))
    assert catalogue.items == []
    (problem,) = catalogue.problems
    assert problem.problem == f"its STAC version is {version!r}, read are 0.8.1 to 1.1"


def test_an_item_of_another_version_is_refused_alone(tmp_path):
    folder = write_tier(tmp_path)
    path = folder / "acc/a1/a1.json"
    write_json(path, {**read_json(path), "stac_version": "0.7.0"})
    catalogue = read(folder)
    assert [of.id for of in catalogue.items] == ["a1-labels", "k1", "k1-labels"]
    assert [problem.path for problem in catalogue.problems] == [str(path)]


def test_a_dead_link_is_named_with_who_has_it(tmp_path):
    folder = write_tier(tmp_path)
    (folder / "kam/k1/k1.json").unlink()
    assert problems_of(folder) == [
        f"{folder}/kam/collection.json: a dead link: ./k1/k1.json is not there; add it, or take "
        "the link out"
    ]


@pytest.mark.parametrize("href", ["../catalog.json", "./collection.json", "../acc/collection.json"])
def test_a_cycle_is_refused(tmp_path, href):
    folder = write_tier(tmp_path, scenes=(("acc", "a1"),))
    path = folder / "acc/collection.json"
    content = read_json(path)
    write_json(path, {**content, "links": [{"rel": "child", "href": href}, *content["links"]]})
    catalogue = read(folder)
    assert len(catalogue.items) == 2
    (problem,) = catalogue.problems
    assert problem.problem.startswith(f"a cycle: its link {href} leads back to {folder}/")


def test_a_document_that_two_lead_to_is_read_once(tmp_path):
    folder = write_tier(tmp_path)
    both = {"child": ["./acc/collection.json", "./kam/collection.json", "./acc/collection.json"]}
    write_catalogue(folder / "catalog.json", "train_tier_1", both, "1.0.0")
    catalogue = read(folder)
    assert (len(catalogue.items), catalogue.problems) == (4, [])


def test_links_upwards_are_not_followed(tmp_path):
    folder = write_tier(tmp_path)
    path = folder / "acc/collection.json"
    content = read_json(path)
    up = [{"rel": rel, "href": "../catalog.json"} for rel in ("root", "parent", "self")]
    write_json(path, {**content, "links": [*content["links"], *up]})
    assert problems_of(folder) == []


def test_a_link_out_of_the_folder_needs_leave(tmp_path):
    folder = write_tier(tmp_path / "in")
    elsewhere = write_json(tmp_path / "out/x.json", item("x", {"image": {}}, "1.0.0"))
    links = {"item": ["../../../out/x.json"]}
    write_catalogue(folder / "acc/collection.json", "acc", links, "1.0.0")
    (problem,) = problems_of(folder)
    assert f"points to {elsewhere}, outside {tmp_path}/in; add it to allow" in problem
    allowed = read(folder, Allow.parse(f"{tmp_path}/out"))
    assert [of.id for of in allowed.items] == ["x", "k1", "k1-labels"]


def test_a_link_over_a_symbolic_link_is_where_that_leads(tmp_path):
    folder = write_tier(tmp_path / "in")
    elsewhere = write_json(tmp_path / "out/x.json", item("x", {"image": {}}, "1.0.0"))
    (folder / "acc/x.json").symlink_to(elsewhere)
    write_catalogue(folder / "acc/collection.json", "acc", {"item": ["./x.json"]}, "1.0.0")
    (problem,) = problems_of(folder)
    assert "outside" in problem


@pytest.mark.parametrize("href", ["https://example.org/x.json", "s3://bucket/x.json"])
def test_a_link_that_leaves_the_machine_is_not_followed(tmp_path, href):
    folder = write_tier(tmp_path)
    write_catalogue(folder / "acc/collection.json", "acc", {"item": [href]}, "1.0.0")
    (problem,) = problems_of(folder)
    assert f"its link {href} leads out of {tmp_path}; download" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no STAC catalogue: it has no links"),
        ('{"id": "x", "stac_version": "1.0.0"}', "no STAC catalogue: it has no links"),
    ],
)
def test_what_is_no_catalogue(tmp_path, content, message):
    (tmp_path / "catalog.json").write_text(content)
    (problem,) = problems_of(tmp_path)
    assert message in problem


def test_catalogues_within_each_other_end(tmp_path):
    for i in range(60):
        links = {"child": [f"./{i + 1}.json"]}
        write_catalogue(tmp_path / f"{i or 'catalog'}.json", str(i), links, "1.0.0")
    (problem,) = problems_of(tmp_path)
    assert "30 catalogues within each other" in problem


def test_a_document_and_its_items(tmp_path):
    path = write_json(tmp_path / "x.json", {"type": "FeatureCollection", "features": [{"id": "x"}]})
    content = read_document(str(path), NONE)
    assert items_of(content, "x.json") == [{"id": "x"}]
    with pytest.raises(InputError, match="its type is 'Catalog'"):
        items_of({"type": "Catalog"}, "x.json")
    with pytest.raises(InputError, match="a STAC document is not read by ftp"):
        read_document("ftp://example.org/x.json", NONE)
