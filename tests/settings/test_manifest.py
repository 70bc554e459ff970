import importlib
from pathlib import Path

import pytest
import yaml

from irgen.errors import SettingsError
from irgen.settings import Manifest, load_manifest
from irgen.studies.settings import is_study

MINIMAL = {"dataset": "a", "frames": {"source": "miniature"}}


def load(tmp_path: Path, document) -> Manifest:
    path = tmp_path / "manifest.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return load_manifest(path)


def test_every_manifest_in_the_project_is_valid(repository):
    manifests = [path for path in sorted((repository / "manifests").glob("*.yaml")) if not is_study(path)]
    assert manifests
    for path in manifests:
        assert load_manifest(path).dataset == path.stem


def test_the_paper_s_setting_is_nfe_336(repository):
    samples = load_manifest(repository / "manifests" / "kaist-flux.yaml").samples
    assert samples.search.candidates * samples.steps == 336


def searched(algorithm, guide=None, **fields):
    samples = {"search": {"algorithm": algorithm, **fields}}
    return {"samples": samples | ({"guide": guide} if guide else {})}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sampels": {}}, ["unknown field `sampels`", "did you mean `samples`"]),
        ({"samples": {"stepz": 3}}, ["unknown field `samples.stepz`", "did you mean `steps`"]),
        ({"samples": {"steps": 0}}, ["`samples.steps` = 0", "greater than or equal to 1"]),
        ({"samples": {"search": {"algorithm": "magic"}}}, ["samples.search", "magic", "'random', 'zero_order'"]),
        (searched("halving", schedule=[[9, 10], [9, 28]]), ["candidates must fall", "[9, 9]"]),
        (searched("halving", schedule=[[9, 10], [4, 10]]), ["until_step must rise", "[10, 10]"]),
        (searched("halving", schedule=[[9, 10], [4, 20]]), ["ends at step 20, but steps = 28"]),
        (searched("calibrated", nfe=27), ["search.nfe = 27", "at least 28"]),
        (searched("paths", sigma=0.5, forward=0.5), ["sigma + forward = 1", "pure noise"]),
        (searched("paths", forward=0.5, backward=0.5), ["backward = 0.5 must be above forward = 0.5"]),
        (searched("first_order", gradient_steps=29), ["gradient_steps = 29", "steps = 28"]),
        (searched("first_order", guide={"name": "realism"}), ["a guide with a gradient: irscore, not realism"]),
        ({"frames": {"source": "kaist"}}, ["frames", "source kaist needs `root`"]),
        ({"frames": {"source": "miniature", "root": "x"}}, ["draws its own frames"]),
        ({"frames": {"source": "folder", "root": "x", "scenes": {"train": 9}}}, ["`scenes` is for the miniature"]),
        ({"frames": {}}, ["field `frames.source` is missing"]),
        ({"frames": {"source": "hit-uav", "root": "x"}}, ["bar.gray", "hit-uav has no visible images", "to 0"]),
        (
            {"frames": {"source": "folder", "root": "x"}, "verifier": {"bar": {"gray": 0}}},
            ["bar.match", "folder has no boxes", "captioner to vlm"],
        ),
        ({"negatives": {"kinds": ["inverted"]}}, ["verifier.bar.gray", "leaves gray out"]),
        ({"negatives": {"kinds": ["gray", "gray"]}}, ["a kind twice"]),
        ({"verifier": {"previews": True}}, ["previews are of own samples", "set own_samples"]),
        ({"verifier": {"previews": True, "own_samples": 9, "own_steps": 1}}, ["own_steps = 1"]),
        ({"verifier": {"bar": {"own": 0.6}}}, ["bar.own", "set own_samples"]),
        ({"base": {"height_px": 81}}, ["height_px = 81", "multiple of 8"]),
        ({"captions": {"captioner": "vlm"}}, ["vlm needs vlm_model"]),
        ({"dataset": "../up"}, ["`dataset` = '../up'"]),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_the_way_out(tmp_path, change, named):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, MINIMAL | change)
    for part in [*named, "manifest.yaml", "irgen settings"]:
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "!!python/object/apply:os.system ['true']", "\x00"])
def test_what_is_not_a_manifest_is_refused_by_name(tmp_path, text):
    with pytest.raises(SettingsError, match=r"manifest\.yaml"):
        load(tmp_path, text)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load_manifest(tmp_path / "nowhere.yaml")


def test_settings_cannot_be_changed_once_made(tmp_path):
    manifest = load(tmp_path, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        manifest.samples.steps = 3


def test_every_section_is_a_module_of_its_name():
    for name, field in Manifest.model_fields.items():
        if name != "dataset":
            module = importlib.import_module(f"irgen.settings.{name}")
            assert field.annotation.__module__ == module.__name__
