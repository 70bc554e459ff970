"""Before the first image: schedules and ensembles that have to be measured."""

import json

import numpy as np
import pytest

from irgen import guiding
from irgen.errors import SettingsError, StoreError
from irgen.search import Prompt
from irgen.search.previews import preview_rewards, unguided_images
from irgen.settings import (
    AestheticChoice,
    CalibratedSearch,
    EnsembleChoice,
    HalvingSearch,
    Member,
    RandomSearch,
    RealismChoice,
    SamplesSettings,
    ZeroOrderSearch,
)
from tests.fakes import FakeGenerator, FakeVerifier

PROMPTS = [Prompt(index, f"scene {index}", f"scene {index}") for index in range(5)]
CALIBRATED = SamplesSettings(steps=4, search=CalibratedSearch(nfe=48, prompts=4, noises=8))


def test_a_guides_weights_on_this_machine_are_named_by_content(tmp_path):
    head, model = tmp_path / "head.safetensors", tmp_path / "clip"
    head.write_bytes(b"one")
    model.mkdir()
    (model / "weights").write_bytes(b"two")
    guide = EnsembleChoice(
        members=(
            Member(verifier=AestheticChoice(head=str(head), model=f"local-dir:{model}", pretrained="")),
            Member(verifier=RealismChoice()),
        )
    )
    before = guiding.externals(guide)
    assert before.keys() == {"aesthetic.head", "aesthetic.model"}
    head.write_bytes(b"another")
    after = guiding.externals(guide)
    assert after["aesthetic.head"] != before["aesthetic.head"] and after["aesthetic.model"] == before["aesthetic.model"]
    assert guiding.externals(AestheticChoice(head="absent.safetensors")) == {}


def test_a_calibrated_search_is_settled_once_and_then_read(tmp_path):
    generator = FakeGenerator()
    first = guiding.settle(generator, FakeVerifier(), PROMPTS, CALIBRATED, tmp_path)
    document = json.loads((tmp_path / "policy.json").read_text())
    assert generator.nfe == document["calibration_nfe"] == 4 * 8 * 4
    # The fake's previews tell the end exactly, so that many candidates can be cut early.
    assert isinstance(first, HalvingSearch) and first.schedule[-1][1] == 4
    again = FakeGenerator()
    assert guiding.settle(again, FakeVerifier(), PROMPTS, CALIBRATED, tmp_path) == first and again.nfe == 0


def test_a_schedule_of_one_stage_is_best_of_n(tmp_path, monkeypatch):
    monkeypatch.setattr("irgen.search.policy.calibrate", lambda rewards, nfe, steps: ((nfe // steps, steps),))
    assert guiding.settle(FakeGenerator(), FakeVerifier(), PROMPTS, CALIBRATED, tmp_path) == RandomSearch(candidates=12)


def test_a_changed_policy_is_refused(tmp_path):
    (tmp_path / "policy.json").write_text('{"schedule": [[99, 4]]}')
    with pytest.raises(StoreError, match=r"policy\.json: damaged"):
        guiding.settle(FakeGenerator(), FakeVerifier(), PROMPTS, CALIBRATED, tmp_path)


def test_an_empty_cosine_is_settled_once_and_then_read(tmp_path):
    search = ZeroOrderSearch(warm_start=2, neighbours=2, iterations=1, cosine=None, prompts=3)
    asked = SamplesSettings(steps=4, search=search)
    assert guiding.prompts_measured(asked) == 3
    generator = FakeGenerator()
    first = guiding.settle(generator, FakeVerifier(), PROMPTS, asked, tmp_path)
    document = json.loads((tmp_path / "policy.json").read_text())
    assert generator.nfe == document["calibration_nfe"] == 5 * 3 * (2 + 2) * 4
    assert first == search.model_copy(update={"cosine": document["cosine"]})
    again = FakeGenerator()
    assert guiding.settle(again, FakeVerifier(), PROMPTS, asked, tmp_path) == first and again.nfe == 0


def test_a_given_cosine_is_taken(tmp_path):
    asked = SamplesSettings(steps=4, search=ZeroOrderSearch(cosine=0.9))
    generator = FakeGenerator()
    assert guiding.settle(generator, FakeVerifier(), PROMPTS, asked, tmp_path) == asked.search
    assert generator.nfe == 0 and guiding.prompts_measured(asked) == 0


def test_a_budget_below_one_image_says_the_least_needed(tmp_path):
    with pytest.raises(ValueError, match=r"search\.nfe = 3 is less than one image needs: at least 4"):
        SamplesSettings(steps=4, search=CalibratedSearch(nfe=3))
    small = SamplesSettings(steps=4, search=CalibratedSearch(nfe=7))
    with pytest.raises(SettingsError, match=r"less than one image needs\n.*Raise it to 8"):
        guiding.settle(FakeGenerator(nfe_per_forward=2), FakeVerifier(), PROMPTS, small, tmp_path)


def test_other_searches_are_settled_already(tmp_path):
    asked = SamplesSettings(steps=4, search=RandomSearch(candidates=2))
    assert guiding.settle(FakeGenerator(), FakeVerifier(), PROMPTS, asked, tmp_path) == asked.search


def test_an_ensemble_ranks_among_unguided_images_that_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr("irgen.verifiers.registry._single", lambda chosen, trained, teachers: FakeVerifier())
    members = (Member(verifier=RealismChoice()), Member(verifier={"name": "irscore"}))
    asked = SamplesSettings(steps=4, guide=EnsembleChoice(members=members, prompts=3, candidates=2))
    generator = FakeGenerator()
    judge = guiding.load(generator, PROMPTS, asked, tmp_path, tmp_path)
    assert generator.nfe == 3 * 2 * 4
    images = unguided_images(generator, PROMPTS, 2, seed=0, batch=4)
    score = judge.score(images[:, 0], [prompt.caption for prompt in PROMPTS]).value
    generator.nfe = 0
    again = guiding.load(generator, PROMPTS, asked, tmp_path, tmp_path)
    assert generator.nfe == 0
    assert np.array_equal(again.score(images[:, 0], [prompt.caption for prompt in PROMPTS]).value, score)


@pytest.mark.parametrize("batch", [1, 5, 99])
def test_rewards_are_those_of_the_steps_and_depend_on_no_batch(batch):
    generator = FakeGenerator()
    rewards = preview_rewards(generator, FakeVerifier(), PROMPTS[:3], 4, seed=1, batch=batch)
    assert rewards.shape == (3, 4, 4) and generator.nfe == 3 * 4 * 4
    assert np.array_equal(rewards, preview_rewards(FakeGenerator(), FakeVerifier(), PROMPTS[:3], 4, seed=1, batch=3))
    # The fake's previews are its final images, but for rounding.
    assert np.abs(rewards - rewards[..., -1:]).max() < 0.01


def test_a_dead_preview_has_no_reward_then_nor_later():
    rewards = preview_rewards(FakeGenerator(), FakeVerifier(score_is_nan=True), PROMPTS[:1], 2, seed=1, batch=2)
    assert np.isnan(rewards).all()


@pytest.mark.parametrize("verifier", [FakeVerifier(score_is_nan=True), FakeVerifier()])
def test_where_too_few_prompts_tell_of_previews_it_is_best_of_n(tmp_path, verifier):
    prompts = PROMPTS if verifier.score_is_nan else PROMPTS[:1]
    settled = guiding.settle(FakeGenerator(), verifier, prompts, CALIBRATED, tmp_path)
    assert settled == RandomSearch(candidates=12)
    assert json.loads((tmp_path / "policy.json").read_text())["best_of_n"] is True
