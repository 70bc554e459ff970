import json
import os
from collections import Counter
from pathlib import Path

import open_clip
import pytest
from safetensors.torch import load_file

from irgen import ranks
from irgen.errors import GateError, SettingsError, StoreError, WeightsError
from irgen.generators import loading, lora
from irgen.lane import Plan
from irgen.records import Caption, read_rows, write_rows
from irgen.settings import (
    AdapterSettings,
    BaseSettings,
    CaptionsSettings,
    NegativesSettings,
    VerifierBar,
    VerifierSettings,
)
from irgen.stages import captions, negatives, verifier
from irgen.verifiers import IrScore, own, seed_runs
from irgen.verifiers.realism import Realism
from tests.raw_frames import raw_frames
from tests.tiny_clip import tiny_clip
from tests.tiny_flux import HEIGHT_PX, T5_TOKENS, WIDTH_PX, tiny_flux

LOW = VerifierBar(gray=0, match=0)
BASE = BaseSettings(model="/no/such/base")
"""Not read where no own samples are asked for."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    found = {"frames": raw_frames(folder / "frames", {"train": 24, "val": 12, "test": 3})}
    for name in ("captions", "negatives"):
        found[name] = folder / name
        found[name].mkdir()
    captions.run(CaptionsSettings(), found["frames"], found["captions"])
    negatives.run(NegativesSettings(kinds=("gray", "agc")), found["frames"], found["captions"], found["negatives"])
    tiny_clip(folder / "clip")
    return found


def settings(inputs: dict[str, Path], **changes: object) -> VerifierSettings:
    model = f"local-dir:{inputs['frames'].parent / 'clip'}"
    plain = {"steps": 4, "batch_size": 12, "learning_rate": 1e-3, "validate_every": 2, "precision": "fp32", "bar": LOW}
    return VerifierSettings(model=model, pretrained="", **{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(inputs, seeds=(3, 4), validate_every=1)
    sections = {"verifier": wanted.model_dump(mode="json"), "base": BASE.model_dump(mode="json")}
    paths = {name: str(path) for name, path in inputs.items()}
    out = tmp_path / "two"
    alone = verifier.run(wanted, **inputs, base=BASE, out=tmp_path / "one")
    ranks.run(Plan(stage="verifier", sections=sections, inputs=paths, out=str(out), parent=os.getpid()), 2)
    monkeypatch.setattr(seed_runs, "train", None)  # all is learnt
    both = verifier.run(wanted, **inputs, base=BASE, out=out)
    for seed, figures in alone["seeds"].items():
        assert both["seeds"][seed]["losses"] == pytest.approx(figures["losses"], rel=1e-3)


def test_the_output_is_a_verifier_that_irgen_and_stock_open_clip_load(inputs, tmp_path: Path) -> None:
    figures = verifier.run(settings(inputs, seeds=(3, 4)), **inputs, base=BASE, out=tmp_path)
    assert set(figures["auc"]) == set(figures["before"]) == {"gray", "agc", "match"}
    assert set(figures["seeds"]) == {"3", "4"} and figures["seed"] in (3, 4)
    assert figures["auc"] == figures["seeds"][str(figures["seed"])]["auc"]
    assert figures["frames"] == {"train": 24, "val": 12} and figures["captions_cut"] == 36
    assert json.loads((tmp_path / "calibration.json").read_bytes())["after"]["auc"] == figures["auc"]
    assert IrScore.load(tmp_path).alpha == 0.5
    open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    assert json.dumps(figures)


def test_the_statistics_of_real_train_frames_are_learned_too(inputs, tmp_path: Path) -> None:
    assert verifier.run(settings(inputs), **inputs, base=BASE, out=tmp_path)["realism"]
    assert len(Realism.load(tmp_path).aspects["noise"].frames) == 24


def test_an_interrupted_run_goes_on_with_the_next_seed_to_the_same_bytes(
    inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(inputs, seeds=(0, 1))
    undisturbed = verifier.run(chosen, **inputs, base=BASE, out=tmp_path / "undisturbed")
    trained: Counter[int] = Counter()
    real = seed_runs.train

    def interrupted(clip, options, seed, *rest):
        if seed == 1 and not trained[1]:
            trained[1] += 1
            raise KeyboardInterrupt
        trained[seed] += 1
        return real(clip, options, seed, *rest)

    monkeypatch.setattr(seed_runs, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verifier.run(chosen, **inputs, base=BASE, out=tmp_path / "resumed")
    assert verifier.run(chosen, **inputs, base=BASE, out=tmp_path / "resumed") == undisturbed
    assert trained == {0: 1, 1: 2}
    for name in ("open_clip_model.safetensors", "calibration.json", "irscore.json", "open_clip_config.json"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_a_verifier_under_the_bar_fails_the_stage_with_the_table(inputs, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"(?s)too weak on held-out frames: .*match.*1\.000"):
        verifier.run(settings(inputs, steps=1, bar=VerifierBar(gray=0, match=1)), **inputs, base=BASE, out=tmp_path)


def test_a_bar_for_a_kind_without_images_fails(inputs, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="too weak on held-out frames: rgb"):
        verifier.run(
            settings(inputs, steps=1, bar=VerifierBar(gray=0, match=0, rgb=0.5)), **inputs, base=BASE, out=tmp_path
        )


def test_a_test_frame_among_the_training_captions_is_refused(inputs, tmp_path: Path) -> None:
    rows = read_rows(inputs["captions"] / "captions.parquet", Caption)
    smuggled = [Caption(**{**vars_of(row), "split": "train"}) if row.split == "test" else row for row in rows]
    (tmp_path / "captions").mkdir()
    write_rows(tmp_path / "captions" / "captions.parquet", smuggled, Caption.SCHEMA)
    with pytest.raises(StoreError, match="frame test/000 is of the test split"):
        verifier.run(settings(inputs), **{**inputs, "captions": tmp_path / "captions"}, base=BASE, out=tmp_path / "out")


def test_without_held_out_frames_there_is_nothing_to_calibrate_on(inputs, tmp_path: Path) -> None:
    rows = [row for row in read_rows(inputs["captions"] / "captions.parquet", Caption) if row.split != "val"]
    write_rows(tmp_path / "captions.parquet", rows, Caption.SCHEMA)
    with pytest.raises(SettingsError, match="24 captioned train frames and 0 val frames"):
        verifier.run(settings(inputs), **{**inputs, "captions": tmp_path}, base=BASE, out=tmp_path / "out")


def test_initial_weights_are_named_by_content_or_by_tag(inputs, tmp_path: Path) -> None:
    local = settings(inputs)
    folder = tiny_clip(tmp_path / "copy")
    assert verifier.externals(local, BASE) == verifier.externals(
        local.model_copy(update={"model": f"local-dir:{folder}"}), BASE
    )
    (folder / "open_clip_config.json").write_text("{}")
    assert verifier.externals(local, BASE) != verifier.externals(
        local.model_copy(update={"model": f"local-dir:{folder}"}), BASE
    )
    assert verifier.externals(VerifierSettings(), BASE) == {"model": "ViT-B-32:openai"}
    with pytest.raises(WeightsError, match="nowhere is not there"):
        verifier.externals(VerifierSettings(model="local-dir:/nowhere"), BASE)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseSettings, Path]:
    """A base and an adapter for it that changes its images."""
    folder = tmp_path_factory.mktemp("adapted")
    base = BaseSettings(
        model=str(tiny_flux(folder / "flux")),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        max_sequence_length=T5_TOKENS,
        precision="fp32",
    )
    options = AdapterSettings(rank=4, target_modules=("proj_out",))
    transformer = loading.load_trainable(base).transformer
    for name, parameter in lora.add(transformer, options).items():
        parameter.data.fill_(0.3 if "lora_B" in name else 0.1)
    (folder / "adapter").mkdir()
    lora.save(transformer, options, folder / "adapter")
    return base, folder / "adapter"


def test_own_samples_are_learned_measured_and_survive_an_interruption(
    inputs, adapted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = adapted
    chosen = settings(inputs, own_samples=10, own_steps=4, previews=True)
    undisturbed = verifier.run(chosen, base, **inputs, adapter=adapter, out=tmp_path / "undisturbed")
    assert set(undisturbed["auc"]) == {"gray", "agc", "own", "match"}
    # Of 12 held-out captions 4 noises each: no more than there are.
    assert undisturbed["own_samples"] == {"train": 10, "val": 48}
    document = json.loads((tmp_path / "undisturbed" / "calibration.json").read_bytes())
    assert set(document["after"]["preview_rank"]) == {"1", "2", "3"}
    assert document["after"]["preview_rank"] == undisturbed["preview_rank"]
    assert sum(document["after"]["histograms"]["own"]) == 48
    real, made = own._make, []

    def interrupted(*arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(own, "_make", interrupted)
        verifier.run(chosen, base, **inputs, adapter=adapter, out=tmp_path / "resumed")
    monkeypatch.setattr(own, "_make", lambda *arguments: made.append(1) or real(*arguments))
    assert verifier.run(chosen, base, **inputs, adapter=adapter, out=tmp_path / "resumed") == undisturbed
    assert len(made) == 2 + 6, "a batch was made twice"
    weights = (tmp_path / name / "open_clip_model.safetensors" for name in ("undisturbed", "resumed"))
    assert len({path.read_bytes() for path in weights}) == 1


def test_own_samples_are_of_the_adapted_base(inputs, adapted, tmp_path: Path) -> None:
    base, adapter = adapted
    assert verifier.externals(settings(inputs, own_samples=1), base).keys() == {"model", "base"}
    scratch = tmp_path / "out" / "_tmp" / "own-train"
    verifier.run(settings(inputs, own_samples=1, own_steps=2), base, **inputs, adapter=adapter, out=tmp_path / "out")
    adapted_image = load_file(scratch / "000000.safetensors")[own.OWN]
    (adapter.parent / "none").mkdir(exist_ok=True)
    transformer = loading.load_trainable(base).transformer
    options = AdapterSettings(rank=4, target_modules=("proj_out",))
    lora.add(transformer, options)  # B = 0: changes nothing
    lora.save(transformer, options, adapter.parent / "none")
    plain = {"adapter": adapter.parent / "none", "out": tmp_path / "plain"}
    verifier.run(settings(inputs, own_samples=1, own_steps=2), base, **inputs, **plain)
    plain_image = load_file(tmp_path / "plain" / "_tmp" / "own-train" / "000000.safetensors")[own.OWN]
    assert (adapted_image.int() - plain_image.int()).abs().max() > 3


def vars_of(row: Caption) -> dict[str, object]:
    return {name: getattr(row, name) for name in Caption.SCHEMA.names}
