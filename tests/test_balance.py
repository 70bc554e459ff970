import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen import balance
from irgen.errors import SettingsError

DAY = "a campus by day with one person near on the left"
NIGHT = "a road at night with two people far on the right and one cyclist midway"
CARS = "a downtown street at night with nobody and three cars near"
MANY = "a campus by day with four people midway"
CAPTIONS = [DAY] * 70 + [NIGHT] * 10 + [CARS] * 10 + [MANY] * 10


def test_what_a_caption_shows() -> None:
    assert balance.features(DAY) == {"day", "campus", "person", "near"}
    assert balance.features(NIGHT) == {"night", "road", "person", "cyclist", "far", "midway", "many"}
    assert balance.features(CARS) == {"night", "downtown", "nobody", "car"}
    assert set(balance.NAMES) >= set().union(*map(balance.features, CAPTIONS))


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 1), st.integers(0, 3))
def test_the_mix_that_was_asked_for_comes(night: float, seed: int) -> None:
    chosen = balance.choose(CAPTIONS, 200, {"night": night}, seed)
    assert balance.shares([CAPTIONS[one] for one in chosen], ["night"])["night"] == pytest.approx(night, abs=0.01)


def test_several_wishes_are_met_together_at_any_length() -> None:
    mix = {"night": 0.5, "cyclist": 0.3, "nobody": 0.2}
    chosen = balance.choose(CAPTIONS, 300, mix, 0)
    for length in (40, 300):
        found = balance.shares([CAPTIONS[one] for one in chosen[:length]], list(mix))
        assert all(found[name] == pytest.approx(share, abs=0.05) for name, share in mix.items())
    assert balance.choose(CAPTIONS, 40, mix, 0) == chosen[:40]


def test_captions_of_a_kind_come_equally_often() -> None:
    chosen = balance.choose(CAPTIONS, 40, {"cyclist": 0.5}, 0)
    counts = [chosen.count(one) for one in range(70, 80)]
    assert set(counts) == {2}


def test_what_no_caption_has_is_said() -> None:
    with pytest.raises(SettingsError, match=r"samples\.mix\.cyclist = 0\.4 cannot be had: 0 of 1"):
        balance.choose([DAY], 3, {"cyclist": 0.4}, 0)
