import numpy as np

from irgen import seeds


def test_a_stream_is_fixed_by_its_key_alone():
    assert np.array_equal(seeds.generator(3, "a", "noise").random(4), seeds.generator(3, "a", "noise").random(4))


def test_every_part_of_the_key_matters():
    keys = [(0, 1, "noise", 0), (1, 1, "noise", 0), (0, 2, "noise", 0), (0, 1, "caption", 0), (0, 1, "noise", 1)]
    assert len({seeds.derive(*key) for key in keys}) == len(keys)


def test_noises_of_datasets_already_made_can_be_made_again():
    assert seeds.derive(0, 0, "noise") == "6f84399b0389378da08329678da32d73"
    assert seeds.generator(0, 0, "noise").standard_normal(2).tolist() == [-0.3898882653228049, 0.4955282361286194]


def test_seeds_use_all_their_bits():
    assert len({seeds.derive(0, index, "noise") for index in range(20_000)}) == 20_000
