import re
from typing import Any

import pytest

from irgen.report.verdict import number, verdict, warnings


def first(figures: dict[str, Any]) -> tuple[str, str]:
    finding = verdict(figures)[0]
    return finding.mood, finding.text


def test_a_gain_beyond_its_interval_is_called_help(figures: dict[str, Any]) -> None:
    mood, text = first(figures)
    assert mood == "good" and text.startswith("Guidance helps: FID 3.88 unguided, 2.19 guided")


def test_a_gain_within_its_interval_is_not_called_help(figures: dict[str, Any]) -> None:
    figures["intervals"]["gain"]["fid"] = [-0.2, 3.5]
    mood, text = first(figures)
    assert mood == "open" and "not shown to be better" in text and "\N{MINUS SIGN}0.200 to 3.50" in text


def test_a_loss_beyond_its_interval_is_called_harm(figures: dict[str, Any]) -> None:
    figures["gain"]["fid"], figures["intervals"]["gain"]["fid"] = -2.0, [-3.0, -1.0]
    mood, text = first(figures)
    assert mood == "bad" and "Guidance does harm" in text and "a loss of 2.00 (95 % interval 1.00 to 3.00)" in text


def test_without_intervals_nothing_is_claimed(figures: dict[str, Any]) -> None:
    figures["intervals"] = {}
    for change in (one for judge in figures["changes"].values() for one in judge.values()):
        change.pop("low", None), change.pop("high", None)
    assert {finding.mood for finding in verdict(figures)[:4]} == {"open"}


@pytest.mark.parametrize(("interval", "mood", "word"), [([0.08, 0.09], "good", "rises"), ([-0.1, 0.2], "bad", "not")])
def test_irscore_is_said_to_rise_only_beyond_its_interval(
    figures: dict[str, Any], interval: list[float], mood: str, word: str
) -> None:
    figures["intervals"]["gain"]["irscore"] = interval
    finding = verdict(figures)[2]
    assert finding.mood == mood and word in finding.text


def test_a_verifier_whose_worst_images_are_the_better_set_is_not_believed(figures: dict[str, Any]) -> None:
    assert not any("Do not trust" in finding.text for finding in verdict(figures))
    figures["fid"]["worst"] = 1.5
    assert any("Do not trust" in finding.text and finding.mood == "bad" for finding in verdict(figures))


@pytest.mark.parametrize(
    ("grayscale", "mood", "words"),
    [(9.0, "good", "closer to real infrared than plain"), (1.0, "bad", "no closer"), (None, "open", "no grayscale")],
)
def test_the_grayscale_baseline_is_always_named(
    figures: dict[str, Any], grayscale: float | None, mood: str, words: str
) -> None:
    figures["fid"]["grayscale"] = grayscale
    finding = verdict(figures)[-1]
    assert finding.mood == mood and words in finding.text


def test_few_images_are_warned_of_with_the_bias(figures: dict[str, Any]) -> None:
    figures["n"] = 40
    assert any("Only 40 images" in line and "0.520 apart" in line for line in warnings(figures))
    figures["n"] = 100
    assert any("fewer than the 128 feature dimensions" in line for line in warnings(figures))
    figures["n"], figures["feature_net"] = 256, "inception"
    assert warnings(figures) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.456, "123.5"), (66.744, "66.74"), (2.1949, "2.19"), (0.12345, "0.123"), (-0.5, "\N{MINUS SIGN}0.500")],
)
def test_numbers_are_printed_short(value: float, text: str) -> None:
    assert number(value) == text


def judged(figures: dict[str, Any]) -> tuple[str, str]:
    finding = next(one for one in verdict(figures) if one.text.startswith("Judges"))
    return finding.mood, finding.text


def test_judges_of_the_verifiers_own_family_are_not_counted(figures: dict[str, Any]) -> None:
    assert judged(figures)[0] == "good" and "3 of 3 say guided images are the better ones" in judged(figures)[1]
    figures["changes"]["verifier"]["frechet"] = {"value": 9.0, "low": 8.0, "high": 10.0}
    assert judged(figures)[0] == "good"


def test_realism_is_not_asked_of_what_it_led(figures: dict[str, Any]) -> None:
    figures["guide"] = ["irscore", "realism"]
    assert "2 of 2 say guided images are the better ones" in judged(figures)[1]


@pytest.mark.parametrize(
    ("guide", "gain", "mood", "said"),
    [
        (["irscore"], [0.1, 0.2], "good", "IRSCORE rises: .* The search maximises it, so"),
        (["irscore", "agreement"], [0.1, 0.2], "good", "The search maximises it, beside agreement, so"),
        (["irscore"], [-0.1, 0.2], "bad", "not shown to rise, though the search maximises it: "),
        (["clipscore"], [0.1, 0.2], "open", "IRSCORE rises: .* The search maximised clipscore instead"),
        (
            ["realism", "agreement"],
            [-0.1, 0.2],
            "open",
            "not shown to rise: .* maximised realism and agreement instead",
        ),
    ],
)
def test_what_a_rise_of_irscore_means_hangs_on_the_guide(
    figures: dict[str, Any], guide: list[str], gain: list[float], mood: str, said: str
) -> None:
    figures["guide"], figures["intervals"]["gain"]["irscore"] = guide, gain
    finding = next(one for one in verdict(figures) if one.text.startswith("IRSCORE"))
    assert finding.mood == mood and re.search(said, finding.text)


def test_a_judge_that_finds_guided_images_worse_is_named(figures: dict[str, Any]) -> None:
    figures["changes"]["random-conv"]["frechet"] = {"value": 9.0, "low": 8.0, "high": 10.0}
    mood, text = judged(figures)
    assert mood == "open" and "1 the worse ones (FID under random-conv)" in text


def test_a_ringing_alarm_names_the_budget_to_stop_at(figures: dict[str, Any]) -> None:
    fall = {"from_nfe": 10.0, "to_nfe": 120.0, "score": 0.05, "judges": ["recall"]}
    figures["alarm"] |= {
        "rings": True,
        "goal": "the guide's score",
        "falls": [fall],
        "stop_at_nfe": 10.0,
        "stop_at_candidates": 1,
    }
    finding = verdict(figures)[1]
    assert "From 10 to 120 NFE the guide's score rises by" in finding.text
    assert finding.mood == "bad" and "Stop at 10 NFE: do not search with this verifier." in finding.text


def test_unequal_mixes_of_day_and_night_are_a_reservation(figures: dict[str, Any]) -> None:
    assert not any("Day and night" in line for line in warnings(figures))
    figures["mix"] = {}
    figures["mixes"]["real"] = {"day": 256}
    assert any("real: 256 day" in line for line in warnings(figures))
