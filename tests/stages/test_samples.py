import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from irgen import generators, records, shards
from irgen.captions import forms
from irgen.errors import StoreError
from irgen.records import Caption
from irgen.search import Prompt, Recipe, nfe_per_image, remake
from irgen.settings import BaseSettings, HalvingSearch, PathsSearch, RandomSearch, SamplesSettings
from irgen.shards import ShardedOutput
from irgen.stages import samples
from tests.fakes import FakeGenerator, FakeVerifier

SETTINGS = SamplesSettings(
    images=7, steps=4, search=RandomSearch(candidates=5), batch_size=3, prompts_at_once=2, images_per_shard=3
)
CONSTANTS = {"algorithm": "random", "steps": 4}


@pytest.fixture
def captions(tmp_path) -> Path:
    folder = tmp_path / "captions"
    folder.mkdir()
    rows = []
    for index, split in enumerate(["train", "train", "val", "train", "test"]):
        text = f"scene {index}"
        rows.append(Caption(f"f{index}", split, text, forms.infrared(text), forms.grayscale(text), "rules", 9, False))
    records.write_rows(folder / "captions.parquet", rows, Caption.SCHEMA)
    return folder


def build(folder: Path, captions: Path, generator=None, verifier=None, settings=SETTINGS) -> Path:
    plan = samples.plan(captions, settings)
    output = ShardedOutput.open(
        folder,
        run={},
        items=settings.images,
        per_shard=settings.images_per_shard,
        columns=samples.COLUMNS,
        tables={"candidates": samples.CANDIDATES, "contrasts": samples.CONTRASTS},
    )
    for number in output.missing():
        with output.shard(number) as shard:
            wanted = [plan[index] for index in output.items(number)]
            for one in samples.make(
                generator or FakeGenerator(), verifier or FakeVerifier(), wanted, settings, CONSTANTS
            ):
                shard.add(one)
    output.finish()
    return folder


def test_the_plan_uses_every_train_caption_equally_often_and_no_other(captions):
    plan = samples.plan(captions, SETTINGS)
    assert [each.prompt.index for each in plan] == list(range(7))
    counts = Counter(each.frame_id for each in plan)
    assert set(counts) == {"f0", "f1", "f3"} and max(counts.values()) - min(counts.values()) <= 1
    assert all(each.prompt.text == forms.infrared(each.prompt.caption) for each in plan)
    assert list(samples.plan(captions, SETTINGS.model_copy(update={"images": 3}))) == plan[:3] == list(plan)[:3]
    assert plan[-1] == plan[6] and len(plan) == 7


def test_without_train_captions_the_way_out_is_named(tmp_path):
    records.write_rows(tmp_path / "captions.parquet", [], Caption.SCHEMA)
    with pytest.raises(StoreError, match="no caption of the train split"):
        samples.plan(tmp_path, SETTINGS)


def test_every_image_has_a_full_score_sheet_and_all_its_candidates(captions, tmp_path):
    folder = build(tmp_path / "out", captions)
    candidates = shards.candidates(folder)
    assert len(candidates) == 7 * 5
    fields = set()
    for record in shards.read(folder):
        own = candidates[candidates["key"] == record.key]
        best = own.loc[own["score"].idxmax()]
        sheet = record.sheet
        fields.add(tuple(sorted(sheet)))
        assert sheet["score"] == best["score"] == own.loc[own["kept"], "score"].item()
        assert sheet["candidate"] == best["candidate"] and best["rank"] == 1
        assert sheet["spread"] == own["score"].max() - own["score"].min()
        assert sheet["nfe"] == 20 and sheet["candidates"] == 5 and sheet["algorithm"] == "random"
        assert sheet["unguided_score"] == own.loc[own["candidate"] == 0, "score"].item()
        assert sheet["noise"] == best["noise"]
        assert record.caption == sheet["caption"]
    assert len(fields) == 1


def test_a_kept_image_can_be_made_again_from_its_sheet(captions, tmp_path):
    for record in shards.read(build(tmp_path / "out", captions)):
        prompt = Prompt(int(record.key), record.sheet["prompt"], record.caption)
        made = remake(FakeGenerator(), FakeVerifier(), prompt, Recipe.from_json(json.loads(record.sheet["noise"])))
        assert np.array_equal(made, np.asarray(Image.open(io.BytesIO(record.image))))


@pytest.mark.parametrize("search", [HalvingSearch(schedule=((6, 2), (2, 4))), PathsSearch(paths=2, renoisings=2)])
def test_candidates_that_were_cut_are_told_from_images_and_the_unguided_image_is_always_there(
    captions, tmp_path, search
):
    settings = SETTINGS.model_copy(update={"search": search})
    folder = build(tmp_path / "out", captions, settings=settings)
    unguided, expected = (
        {
            row["key"]: row["png"]
            for row in shards.table(one, "contrasts").to_dict("records")
            if row["kind"] == "unguided"
        }
        for one in (folder, build(tmp_path / "plain", captions))
    )
    assert unguided == expected and len(unguided) == 7
    candidates = shards.candidates(folder)
    finished = candidates["score"].notna()
    assert 0 < finished.sum() < len(candidates)
    assert (finished == (candidates["step"] == 4)).all() and (finished == (candidates["rank"] > 0)).all()
    assert candidates.loc[~finished, "preview"].notna().all() and candidates["kept"].sum() == 7
    assert candidates.groupby("key")["nfe"].sum().eq(nfe_per_image(search, 4)).all()
    table = shards.table(folder).set_index("key")
    assert set(table["nfe"]) == {nfe_per_image(search, 4)} and (table["previews"] > 0).all()
    cut = candidates[(candidates["candidate"] == 0) & ~finished]
    assert len(cut) > 0 and set(table.index[table["unguided_nfe"] > 0]) == set(cut["key"])


def test_unguided_and_worst_images_are_kept_for_the_report(captions, tmp_path):
    folder = build(tmp_path / "out", captions)
    mean = {"unguided": {}, "worst": {}}
    for row in shards.table(folder, "contrasts").to_dict("records"):
        mean[row["kind"]][row["key"]] = np.asarray(Image.open(io.BytesIO(row["png"]))).mean()
    kept = {one.key: np.asarray(Image.open(io.BytesIO(one.image))).mean() for one in shards.read(folder)}
    assert set(kept) == set(mean["unguided"]) == set(mean["worst"])
    for key in kept:
        assert mean["worst"][key] <= mean["unguided"][key] <= kept[key]


def test_the_shards_do_not_depend_on_how_the_work_was_cut_into_batches(captions, tmp_path):
    one = build(tmp_path / "one", captions)
    other = build(
        tmp_path / "other", captions, settings=SETTINGS.model_copy(update={"batch_size": 50, "prompts_at_once": 1})
    )
    names = [sorted(path.name for path in (folder / "shards").iterdir()) for folder in (one, other)]
    assert names[0] == names[1]


class Threaded(FakeGenerator):
    """Notes with how many threads it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = set()

    def denoise(self, latents, conditions, from_step, to_step):
        self.threads.add(torch.get_num_threads())
        return super().denoise(latents, conditions, from_step, to_step)


def test_whatever_the_threads_that_there_are_images_are_made_with_one(captions, tmp_path, monkeypatch):
    generator, before = Threaded(), torch.get_num_threads()
    monkeypatch.setattr(generators, "load", lambda *_: generator)
    monkeypatch.setattr(samples.guiding, "load", lambda *_: FakeVerifier())
    monkeypatch.setattr(samples, "_constants", lambda *_: CONSTANTS)
    torch.set_num_threads(3)
    try:
        samples.make_shards(SETTINGS, BaseSettings(), captions, tmp_path, tmp_path, tmp_path / "out").finish()
        assert (generator.threads, torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


class Failing(FakeGenerator):
    """Breaks every latent of scene 1 until its noise has been asked for `patience` times."""

    patience = 99

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def denoise(self, latents, conditions, from_step, to_step):
        done = super().denoise(latents, conditions, from_step, to_step)
        for row, text in enumerate(conditions.texts):
            if text.endswith("scene 1"):
                self.asked += 1
                if self.asked <= self.patience:
                    done.latents[row] = np.nan
        return done


def test_an_image_that_fails_is_tried_again_with_other_noises(captions):
    generator = Failing()
    generator.patience = 5
    plan = [each for each in samples.plan(captions, SETTINGS) if each.frame_id == "f1"][:1]
    [sample] = samples.make(generator, FakeVerifier(), plan, SETTINGS, CONSTANTS)
    assert sample.row["attempt"] == 1 and sample.row["nfe"] == 40 and sample.image
    rows = sample.tables["candidates"]
    assert {row["dead"] for row in rows if row["attempt"] == 0} == {"latents not finite"}
    assert len({row["noise"] for row in rows}) == 10


def test_after_three_attempts_a_tombstone_says_why_and_the_others_live(captions, tmp_path):
    folder = build(tmp_path / "out", captions, Failing())
    table = shards.table(folder)
    failed = table[table["status"] == "failed"]
    assert set(failed["frame_id"]) == {"f1"}
    assert set(failed["reason"]) == {"all candidates dead in 3 attempts: latents not finite"}
    assert {record.key for record in shards.read(folder)} == set(table.loc[table["status"] == "ok", "key"])
    summary = samples.summary(folder)
    assert summary["images"] == 7 - len(failed) and summary["failed"] == {failed["reason"].iloc[0]: len(failed)}


def test_the_summary_is_the_tables_means(captions, tmp_path):
    folder = build(tmp_path / "out", captions)
    summary = samples.summary(folder)
    assert summary["nfe_per_image"] == 20.0 and summary["failed"] == {}
    assert summary["score"] == pytest.approx(shards.table(folder)["score"].mean())
    assert summary["score"] > summary["unguided_score"]


def test_a_guide_without_cosines_has_its_own_parts_in_the_sheet_and_no_nan(captions, tmp_path):
    class Plain(FakeVerifier):
        def score(self, images, captions):
            scores = super().score(images, captions)
            return replace(scores, parts={"sharpness": scores.value})

    for record in shards.read(build(tmp_path / "out", captions, verifier=Plain())):
        assert record.sheet["sharpness"] == record.sheet["score"]
        assert not {"cos_infrared", "cos_grayscale"} & set(record.sheet)
