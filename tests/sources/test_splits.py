from hypothesis import given
from hypothesis import strategies as st

from irgen.sources.splits import hold_out, runs, three_way

groups = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(1, 50), min_size=1, max_size=12)


@given(groups, st.floats(0.01, 0.49), st.floats(0, 0.9))
def test_something_is_held_out_and_something_remains(frames_of, val, test):
    strata = {name: name[0] for name in frames_of}
    split_of = three_way(frames_of, strata, val, test)
    assert set(split_of) == set(frames_of)
    assert "train" in split_of.values()
    if len(frames_of) >= 3:
        assert "val" in split_of.values()
    assert split_of == three_way(dict(reversed(frames_of.items())), strata, val, test)


@given(groups, st.floats(0.01, 0.49))
def test_each_stratum_of_two_gives_one_and_keeps_one(frames_of, fraction):
    strata = {name: name[0] for name in frames_of}
    chosen = hold_out(frames_of, fraction, "val", strata)
    for stratum in set(strata.values()):
        members = {name for name in frames_of if strata[name] == stratum}
        if len(members) >= 2:
            assert 0 < len(chosen & members) < len(members)


def test_the_share_is_near_the_fraction():
    frames_of = {f"v{number}": 10 for number in range(100)}
    strata = dict.fromkeys(frames_of, "")
    assert len(hold_out(frames_of, 0.15, "val", strata)) == 15
    assert hold_out(frames_of, 0.15, "val", strata) != hold_out(frames_of, 0.15, "test", strata)
    assert hold_out(frames_of, 0, "val", strata) == set()


def test_runs_end_at_gaps_and_where_the_name_changes():
    names = ["a_00001", "a_00040", "a_00200", "b_00201", "a_00041"]
    found = runs(names, 60)
    assert found == {
        "a_00001": "a_00001",
        "a_00040": "a_00001",
        "a_00041": "a_00001",
        "a_00200": "a_00200",
        "b_00201": "b_00201",
    }
