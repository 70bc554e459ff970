"""Which of a shard's candidates are kept, so that the set looks like real frames."""

import numpy as np
import pytest

from irgen.choosing import Choice, identity
from irgen.metrics.features import FeatureNet, features
from irgen.metrics.frechet import frechet_distances
from irgen.recording import Plan
from irgen.search import Prompt, random
from irgen.settings import Manifest, RandomSearch, SamplesSettings, SelectionSettings
from irgen.stages import samples
from tests.fakes import FakeGenerator, FakeVerifier

NET = FeatureNet("rows", (5, 4), lambda batch: batch.mean((1, 3)) / 255)
PROMPTS = [Prompt(index, f"scene {index}", f"scene {index}") for index in range(24)]
SETTINGS = SamplesSettings(
    images=24,
    steps=4,
    search=RandomSearch(candidates=8),
    batch_size=5,
    prompts_at_once=3,
    selection=SelectionSettings(net="proxy"),
)


@pytest.fixture(scope="module")
def choice() -> Choice:
    # Real frames: what the generator makes of other noises, seen without a verifier that prefers some.
    others = random(FakeGenerator(), FakeVerifier(), PROMPTS, RandomSearch(candidates=1), seed=9, attempt=0, batch=8)
    real = features([one.images[0] for one in others], NET, total=len(others))
    return Choice(NET, real, 0.5)


def found(all_images=True):
    return random(
        FakeGenerator(),
        FakeVerifier(),
        PROMPTS,
        RandomSearch(candidates=8),
        seed=0,
        attempt=0,
        batch=7,
        all_images=all_images,
    )


def distance(real, each):
    kept = features([one.images[one.kept.number] for one in each], NET, total=len(each))
    return frechet_distances(real, {"kept": kept})["kept"]


def test_the_chosen_set_is_nearer_to_real_frames_and_none_is_below_its_prompts_median(choice):
    best, chosen = found(), found()
    choice.choose(chosen)
    assert distance(choice.real, chosen) < 0.8 * distance(choice.real, best)
    for one in chosen:
        scores = [candidate.score for candidate in one.candidates]
        assert one.kept.score >= np.median(scores)
    assert any(one.kept.number != other.kept.number for one, other in zip(chosen, best, strict=True))


def test_without_a_choice_only_images_that_may_be_wanted_stay():
    assert all(len(one.images) == 8 for one in found())
    assert all(len(one.images) <= 3 for one in found(all_images=False))


def test_one_prompt_alone_keeps_its_best(choice):
    [one] = found()[:1]
    best = one.kept
    choice.choose([one])
    assert one.kept == best


def test_records_tell_which_candidate_was_chosen_and_its_rank(choice):
    plan = [Plan(prompt, f"f{prompt.index}") for prompt in PROMPTS]
    made = list(samples.make(FakeGenerator(), FakeVerifier(), plan, SETTINGS, {}, choice=choice))
    again = SETTINGS.model_copy(update={"prompts_at_once": 24, "batch_size": 50})
    assert [one.image for one in samples.make(FakeGenerator(), FakeVerifier(), plan, again, {}, choice=choice)] == [
        one.image for one in made
    ]
    ranks = []
    for one in made:
        [kept] = [row for row in one.tables["candidates"] if row["kept"]]
        assert (kept["candidate"], kept["rank"], kept["score"]) == tuple(
            one.sheet[name] for name in ("candidate", "rank", "score")
        )
        ranks.append(kept["rank"])
    assert max(ranks) > 1 and max(ranks) <= 5


def test_what_is_taught_here_has_no_weights_to_name():
    assert identity(SelectionSettings()) == identity(SelectionSettings(net="proxy")) == {}
    assert identity(SelectionSettings(net="random-conv"))["selection"].startswith("random-conv")


@pytest.mark.parametrize("net", ["random-conv", "scenenet"])
def test_a_net_that_judges_in_the_report_may_not_select(net):
    with pytest.raises(ValueError, match=r"samples\.selection\.net = .* judges in the report"):
        Manifest(
            dataset="x",
            frames={"source": "miniature"},
            samples=SETTINGS.model_copy(update={"selection": SelectionSettings(net=net)}),
        )
