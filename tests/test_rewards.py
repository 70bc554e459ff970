"""`irgen policy`: from a file of rewards to what a schedule is worth."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from irgen import cli
from tests.search.test_policy import planted, shuffled


@pytest.fixture
def policy(tmp_path):
    def run(arrays, *options):
        path = tmp_path / "rewards.npz"
        if isinstance(arrays, bytes):
            path.write_bytes(arrays)
        elif arrays is not None:
            np.savez(path, **arrays)
        return CliRunner().invoke(cli.app, ["policy", "--rewards", str(path), *options])

    return run


def test_json_is_the_schedule_and_its_worth_on_the_other_prompts(policy):
    rewards = planted()
    result = policy({"reward": rewards}, "--budget", "336", "--steps", "28", "--json")
    found = json.loads(result.stdout)
    assert list(found) == [
        "schedule",
        "nfe",
        "best_of_n",
        "policy",
        "gain_z",
        "gain_z_ci95",
        "equivalent_n",
        "nfe_for_equal_score",
    ]
    assert found["nfe"] <= 336 and found["schedule"][-1][1] == 28 and found["gain_z_ci95"][0] > 0
    low, high = found["gain_z_ci95"]
    assert low < found["gain_z"] < high
    assert found["equivalent_n"] > 15 and found["nfe_for_equal_score"] < 300


def test_the_schedule_is_chosen_on_20_prompts_and_32_seeds_and_judged_on_the_others(policy):
    rewards = planted()
    plain = json.loads(policy({"reward": rewards}, "--json").stdout)
    unseen = rewards.copy()
    unseen[:20, 32:] += 100
    assert json.loads(policy({"reward": unseen}, "--json").stdout) == plain
    rewards[20:] = shuffled(rewards)[20:]
    fooled = json.loads(policy({"reward": rewards}, "--json").stdout)
    assert fooled["schedule"] == plain["schedule"] and fooled["gain_z"] < 0


def test_useless_previews_are_said_in_the_table(policy):
    lines = policy({"reward": shuffled(planted())}).stdout.splitlines()
    assert lines[0].split(maxsplit=1) == ["schedule", "best of 12: previews do not tell the end well enough"]
    assert "as good as best of       12.0" in lines


def test_a_schedule_is_said_in_the_table(policy):
    first = policy({"reward": planted()}).stdout.splitlines()[0]
    assert "to step" in first and first.endswith("to step 28")


def nan(place):
    rewards = planted(prompts=22)
    rewards[place] = np.nan
    return {"reward": rewards}


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (None, (), r"rewards\.npz: cannot be read \(No such file"),
        (b"PK\x03\x04 half a zip", (), r"rewards\.npz: not an \.npz"),
        (b"plain text", (), r"rewards\.npz: not an \.npz"),
        (b"", (), r"rewards\.npz: not an \.npz"),
        ({"rewards": np.ones(3), "steps": np.ones(1)}, (), "no array 'reward', only rewards, steps"),
        ({"reward": np.array([{}], object)}, (), r"rewards\.npz: not an \.npz of plain numbers"),
        ({"reward": np.full((30, 40, 5), "x")}, (), r"rewards\.npz: reward \[30, 40, 5\] of <U1 is not numbers"),
        ({"reward": np.ones((30, 40))}, (), r"rewards\.npz: reward \[30, 40\] of float64 is not numbers \[prompts"),
        ({"reward": np.ones((21, 40, 5))}, (), "21 prompts x 40 seeds x 5 steps: too few"),
        ({"reward": np.ones((22, 1, 5))}, (), "22 prompts x 1 seeds x 5 steps: too few"),
        ({"reward": np.ones((22, 9, 5))}, (), r"rewards\.npz: reward has 9 seeds a prompt, too few for best of 12"),
        (nan((3, 1, 4)), (), r"rewards\.npz: reward \[22, 48, 12\] is not finite in 1 places, first at \[3, 1, 4\]"),
        ({"reward": np.ones((22, 40, 5))}, ("--budget", "27"), "27 NFE at 28 steps does not reach for one image"),
        ({"reward": np.ones((22, 40, 5))}, ("--steps", "0"), "336 NFE at 0 steps"),
    ],
)
def test_bad_input_names_file_and_key(policy, arrays, options, message):
    result = policy(arrays, *options)
    assert result.exit_code != 0 and not result.stdout
    assert "Not foreseen" not in result.stderr
    assert re.search(message, result.stderr), result.stderr


def test_one_bare_array_is_no_npz(policy, tmp_path):
    np.save(tmp_path / "rewards.npy", np.ones(3))
    result = policy((tmp_path / "rewards.npy").read_bytes())
    assert "rewards.npz: holds one array" in result.stderr


@pytest.mark.parametrize("place", [6, 8], ids=["encrypted", "of an unknown compression"])
def test_a_member_that_cannot_be_unpacked_is_refused(policy, tmp_path, place):
    np.savez(tmp_path / "sound.npz", reward=planted())
    damaged = bytearray((tmp_path / "sound.npz").read_bytes())
    directory = damaged.rindex(b"PK\x01\x02")  # the entry of the zip's central directory: flags at 8, method at 10
    damaged[directory + 2 + place] |= 1
    result = policy(bytes(damaged))
    assert result.exit_code != 0 and "rewards.npz: not an .npz of plain numbers" in result.stderr
