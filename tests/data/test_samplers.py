from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.data.samplers import TrainingBatches, ValidationBatches
from builtup.errors import ConfigError


def draws(batches):
    return [draw for batch in batches for draw in batch]


def test_a_batch_of_one_group_holds_tiles_of_no_other() -> None:
    groups = ["a"] * 3 + ["b"] * 5 + ["c"]
    weights = [0.0, 1, 9, 1, 1, 1, 1, 1, 2]
    sampler = TrainingBatches(9, 4, weights=weights, samples=4000, groups=groups, seed=1)
    batches = list(sampler)
    of = [{groups[draw.index] for draw in batch} for batch in batches]
    assert all(len(names) == 1 for names in of)
    counts = Counter(name for names in of for name in names)
    assert all(270 < counts[name] < 400 for name in "abc")  # of 1,000, each as likely as another
    drawn = Counter(draw.index for batch in batches for draw in batch)
    assert drawn[0] == 0
    assert 7 < drawn[2] / drawn[1] < 11  # within a group by the weights
    again = TrainingBatches(9, 4, weights=weights, samples=4000, groups=groups, seed=1)
    assert list(again) == batches


def test_batches_of_one_group_need_weights() -> None:
    with pytest.raises(ConfigError, match="set sampler_weights"):
        TrainingBatches(2, 2, groups=["a", "b"])


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_processes_share_the_batches_of_one_without_padding(n, per, world, weighted, epoch):
    if not weighted and n < world:
        return
    weights = [1 + i % 3 for i in range(n)] if weighted else None

    def batches(rank, world):
        sampler = TrainingBatches(
            n, per * size, weights=weights, seed=7, rank=rank, world_size=world
        )
        sampler.set_epoch(epoch)
        return list(sampler), len(sampler)

    size = world
    whole, steps = batches(0, 1)
    parts = [batches(rank, world) for rank in range(world)]
    assert all(len(got) == count == steps for got, count in parts)
    for step in range(steps):
        shares = [got[step] for got, _ in parts]
        assert len({len(share) for share in shares}) == 1
        union = Counter(draw for share in shares for draw in share)
        assert not union - Counter(whole[step])
        # one process may use what cannot be shared evenly, only where there is one short batch
        assert len(whole[step]) - union.total() < (world if steps == 1 else 1)


def test_the_stream_of_an_epoch_depends_on_seed_and_epoch_only():
    def stream(seed, epoch):
        sampler = TrainingBatches(50, 4, weights=[1.0] * 50, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert stream(1, 5) == stream(1, 5)
    different = [stream(1, 5), stream(1, 6), stream(2, 5), stream(0, 5)]
    assert all(a != b for i, a in enumerate(different) for b in different[:i])


def test_without_set_epoch_epochs_follow_one_another_and_resume_from_the_generators_state():
    sampler = TrainingBatches(50, 4, weights=[1.0] * 50, seed=3)
    first = list(sampler)
    iter(sampler)  # thrown away, as DataLoader does with persistent workers
    state = sampler.generator.get_state()
    second = list(sampler)
    assert first != second
    resumed = TrainingBatches(50, 4, weights=[1.0] * 50, seed=3)
    resumed.generator.set_state(state)
    assert list(resumed) == second


def test_seeds_of_draws_differ_also_for_the_same_tile():
    sampler = TrainingBatches(2, 10, weights=[1, 1], samples=100)
    assert len({draw.seed for draw in draws(sampler)}) == 100


def test_weights_are_those_of_a_tile_and_not_shares_of_a_batch():
    # 90 tiles of weight .7 and 10 of .3: the second kind makes .3·10 / (.7·90 + .3·10) = 1/22
    weights = [0.7] * 90 + [0.3] * 10
    sampler = TrainingBatches(100, 50, weights=weights, samples=22_000)
    counts = Counter(draw.index >= 90 for draw in draws(sampler))
    assert counts[True] == pytest.approx(1000, abs=130)  # 4 standard deviations
    never = TrainingBatches(3, 5, weights=[1, 0, 1], samples=500)
    assert {draw.index for draw in draws(never)} == {0, 2}


def test_weighted_batches_are_full_and_cover_the_samples_asked_for():
    sampler = TrainingBatches(7, 4, weights=[1] * 7)
    assert [len(b) for b in sampler] == [4, 4]
    assert len(TrainingBatches(7, 4, weights=[1] * 7, samples=9)) == 3


def test_without_weights_each_tile_comes_once_in_full_batches():
    batches = list(TrainingBatches(11, 4))
    assert [len(b) for b in batches] == [4, 4]
    assert len({draw.index for draw in draws(batches)}) == 8
    assert sorted(d.index for d in draws(TrainingBatches(3, 8))) == [0, 1, 2]


@pytest.mark.parametrize("world", [1, 2])
def test_without_weights_an_epoch_has_as_many_samples_as_are_asked_for(world):
    batches = [
        list(TrainingBatches(5, 4, samples=18, seed=3, rank=rank, world_size=world))
        for rank in range(world)
    ]
    assert all(len(own) == 5 and {len(b) for b in own} == {4 // world} for own in batches)
    counts = Counter(draw.index for own in batches for batch in own for draw in batch)
    assert counts == dict.fromkeys(range(5), 4)  # in rounds of all: 20 samples
    assert len({draw.seed for own in batches for batch in own for draw in batch}) == 20


@given(st.integers(0, 50), st.integers(1, 7), st.integers(1, 5))
def test_validation_deals_the_batches_of_one_process_whole(n, size, world):
    whole = list(ValidationBatches(n, size))
    assert [i for batch in whole for i in batch] == list(range(n))
    parts = [ValidationBatches(n, size, rank=r, world_size=world) for r in range(world)]
    assert sorted(b for part in parts for b in part) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 5, "batch_size": 0}, "batch_size=0"),
        ({"count": 5, "batch_size": 3, "world_size": 2}, "multiple of the 2 processes"),
        ({"count": 2, "batch_size": 2, "weights": [0, 0]}, "no tile can be drawn"),
        ({"count": 2, "batch_size": 2, "weights": [1, -1]}, "at least 0"),
        ({"count": 2, "batch_size": 2, "weights": [1, float("nan")]}, "finite"),
        ({"count": 1, "batch_size": 2, "world_size": 2}, "cannot feed"),
    ],
)
def test_what_cannot_be_dealt_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TrainingBatches(**arguments)
