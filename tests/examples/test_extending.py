"""What docs/extending.md promises: a new file and a line, and nothing of irgen edited."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from irgen import extensions, generators, guiding, pipeline, records, search, shards, store, weights
from irgen.captions import forms
from irgen.errors import SettingsError, WeightsError
from irgen.generators import memory
from irgen.records import Caption, Frame, Reject
from irgen.search import Prompt
from irgen.settings import BaseSettings, FramesSettings, Manifest, SamplesSettings, parse
from irgen.shards import licences
from irgen.sources import external_digests, root_of
from irgen.stages import samples
from irgen.verifiers import registry
from tests.fakes import FakeGenerator, FakeVerifier
from tests.tiny_families import HEIGHT_PX, WIDTH_PX, tiny_stable_diffusion

ANNEALING = {"algorithm": "extension", "extension": "annealing", "options": {"moves": 3}}
CONTRAST = {"name": "extension", "extension": "thermal_contrast"}
BOX = "<object><name>person</name><bndbox><xmin>4</xmin><ymin>6</ymin><xmax>14</xmax><ymax>30</ymax></bndbox></object>"
PROMPTS = [Prompt(index, f"scene {index}", f"scene {index}") for index in range(3)]
TEXTS = ["an infrared photo", "a dog", "two near"]
STEPS = 4


def test_each_is_one_file_of_under_a_hundred_lines_and_one_line(extending: Path) -> None:
    points = tomllib.loads((extending / "pyproject.toml").read_text())["project"]["entry-points"]
    assert sorted(points) == [extensions.FAMILIES, extensions.SEARCHES, extensions.SOURCES, extensions.VERIFIERS]
    files = {value.partition(":")[0] for listed in points.values() for value in listed.values()}
    assert files == {path.stem for path in extending.glob("*.py")}
    for path in extending.glob("*.py"):
        assert len(path.read_text().splitlines()) < 100, path.name


def llvip(root: Path) -> Path:
    for split, names in {"train": ["010001", "020001", "030001", "030002"], "test": ["190001"]}.items():
        for name in names:
            for folder in ("visible", "infrared"):
                path = root / folder / split / f"{name}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                ramp = np.add.outer(np.arange(48), np.arange(64)) % 100 + int(name[:2])
                Image.fromarray(ramp.astype(np.uint8)).save(path)
            annotation = root / "Annotations" / f"{name}.xml"
            annotation.parent.mkdir(exist_ok=True)
            annotation.write_text(f"<annotation>{BOX}</annotation>")
    (root / "Annotations" / "030002.xml").write_text("<annotation><object/></annotation>")
    return root


def test_a_source_of_another_package_makes_frames(installed: Path, tmp_path: Path, monkeypatch) -> None:
    settings = FramesSettings(source="llvip", root=str(llvip(tmp_path / "raw")), val_fraction=0.25)
    outcome = pipeline.run_stage(pipeline.stage_named("frames"), tmp_path / "data", {"frames": settings}, {})
    frames = list(records.read_rows(outcome.ref.folder / "frames.parquet", Frame))
    assert {(one.id, one.source, one.is_pair) for one in frames} == {
        (name, "llvip", True) for name in ("010001", "020001", "030001", "190001")
    }
    split_of = {one.id: one.split for one in frames}
    assert split_of["190001"] == "test" and sorted(split_of.values()) == ["test", "train", "train", "val"]
    (box,) = frames[0].boxes
    assert (box.label, box.x_px, box.y_px, box.w_px, box.h_px) == ("person", 4, 6, 10, 24)
    (reject,) = records.read_rows(outcome.ref.folder / "rejects.parquet", Reject)
    assert (reject.item, reject.reason) == ("030002", "bad_annotation")
    assert licences.source_terms("llvip") == "llvip: see its owner's licence"
    # Its code is a part of what the stage's output is named by.
    assert external_digests(settings)["source"] == "llvip 1"
    monkeypatch.setattr("llvip.VERSION", 2)
    again = pipeline.run_stage(pipeline.stage_named("frames"), tmp_path / "data", {"frames": settings}, {})
    assert not again.reused and again.ref.folder != outcome.ref.folder
    monkeypatch.undo()
    with pytest.raises(SettingsError, match="`source` = 'llvip': no such source"):
        root_of(outcome.ref.folder)


def test_a_verifier_of_another_package_scores_what_stands_out(installed: Path, tmp_path: Path) -> None:
    judge = registry.load(registry.choice(CONTRAST), tmp_path, lambda voices: {})
    images = np.full((3, 20, 20, 3), 60, np.uint8)
    images[1, 8:12, 8:12], images[2, 8:12, 8:12] = 120, 250
    scores = judge.score(images, ["a", "b", "c"])
    assert scores.value[0] == 0 < scores.value[1] < scores.value[2]
    np.testing.assert_array_equal(judge.score(images[2:], ["c"]).value, scores.value[2:])


def test_it_votes_in_an_ensemble_under_its_own_name(installed: Path, tmp_path: Path) -> None:
    member = {"verifier": CONTRAST}
    with pytest.raises(SettingsError, match=r"twice: \['thermal_contrast', 'thermal_contrast'\]"):
        registry.choice({"name": "ensemble", "members": [member, member]})
    guide = registry.choice({"name": "ensemble", "members": [member, {"verifier": {"name": "irscore"}}]})
    assert guiding.externals(guide) == {"guide.thermal_contrast": "thermal_contrast 1"}


def found(prompts: list[Prompt], batch: int) -> list[search.Found]:
    settings = parse(SamplesSettings, {"steps": STEPS, "search": ANNEALING}, "samples").search
    generator = FakeGenerator()
    results = search.search(generator, FakeVerifier(), prompts, settings, seed=5, attempt=0, batch=batch)
    # Three moves after the first noise, of four steps each.
    assert generator.nfe == len(prompts) * search.nfe_per_image(settings, STEPS) == len(prompts) * 16
    return results


def test_a_search_of_another_package_keeps_the_rules_of_the_house(installed: Path) -> None:
    alone, together = found(PROMPTS[1:2], 1), found(PROMPTS, 7)
    assert [one.score for one in alone[0].candidates] == [one.score for one in together[1].candidates]
    assert len({one.score for one in alone[0].candidates}) == 4
    best = together[0].kept
    image = search.remake(FakeGenerator(), FakeVerifier(), PROMPTS[0], best.recipe)
    assert np.array_equal(image, together[0].images[best.number])


def test_hot_annealing_wanders_and_cold_annealing_only_climbs(installed: Path) -> None:
    from annealing import Annealing

    def pivots(temperature: float) -> list[int]:
        """How many changes the candidates' recipes have: a pivot that stays has the same as before."""
        own = Annealing(moves=12, temperature=temperature, cooling=1.0)
        arguments = {"seed": 2, "attempt": 0, "batch": 4, "all_images": False}
        (one,) = own.search(FakeGenerator(), FakeVerifier(), PROMPTS[:1], **arguments)
        return [len(candidate.recipe.changes) for candidate in one.candidates]

    assert pivots(1e9) == list(range(13))
    assert pivots(1e-9)[-1] < 12


@pytest.fixture
def stable_diffusion(tmp_path: Path) -> Path:
    """A random pipeline, with a safety checker that nobody should unpickle."""
    folder = tiny_stable_diffusion(tmp_path / "stable-diffusion")
    index = json.loads((folder / weights.INDEX).read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / weights.INDEX).write_text(json.dumps(index))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"not to be opened")
    return folder


def base(folder: Path) -> BaseSettings:
    return BaseSettings(model=str(folder), height_px=HEIGHT_PX, width_px=WIDTH_PX, precision="fp32")


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_a_family_of_another_package_makes_the_stock_pipelines_images(
    installed: Path, stable_diffusion: Path, guidance: float
) -> None:
    engine = generators.load(base(stable_diffusion), STEPS, guidance, 2, None)
    noise = torch.randn(3, *engine.latent_shape, generator=torch.Generator().manual_seed(7))
    ours = engine.decode(engine.denoise(noise, engine.encode(TEXTS), 0, STEPS).latents)
    stock = StableDiffusionPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    stock.set_progress_bar_config(disable=True)
    size = {"height": HEIGHT_PX, "width": WIDTH_PX, "guidance_scale": guidance, "num_inference_steps": STEPS}
    expected = stock(TEXTS, **size, latents=noise, output_type="np").images * 255
    assert np.abs(ours - expected).max() < 0.6, "more than rounding apart"
    assert np.ptp(expected) > 50, "images so flat that anything would equal them"
    assert memory.plan(base(stable_diffusion), 2, guidance) is None


def test_a_whole_stage_runs_on_all_of_them(installed: Path, stable_diffusion: Path, tmp_path: Path) -> None:
    asked = {"images": 2, "steps": 2, "images_per_shard": 2, "search": ANNEALING, "guide": CONTRAST}
    settings = parse(SamplesSettings, asked, "samples")
    folders = {name: tmp_path / name for name in ("captions", "verifier", "adapter", "out")}
    for folder in folders.values():
        folder.mkdir()
    (folders["adapter"] / "adapter.json").write_text('{"train": false}')
    row = Caption("f0", "train", "a dog", forms.infrared("a dog"), forms.grayscale("a dog"), "rules", 9, False)
    records.write_rows(folders["captions"] / "captions.parquet", [row], Caption.SCHEMA)
    for name in ("adapter", "verifier"):
        store.write_manifest(folders[name], {"stage": name, "settings": {}}, store.listing(folders[name]))
    inputs = (folders[name] for name in ("captions", "verifier", "adapter", "out"))
    figures = samples.run(settings, base(stable_diffusion), *inputs)
    # Classifier-free guidance: two evaluations a forward.
    assert figures["images"] == 2 and figures["nfe_per_image"] == 2 * 4 * 2
    for record in shards.read(folders["out"]):
        assert (record.sheet["algorithm"], record.sheet["guide"]) == ("annealing", "thermal_contrast")
    named = samples.externals(settings, base(stable_diffusion))
    assert (named["search"], named["guide.thermal_contrast"]) == ("annealing 1", "thermal_contrast 1")


def test_what_is_not_installed_is_refused_with_what_is(tmp_path: Path, stable_diffusion: Path) -> None:
    with pytest.raises(SettingsError, match=r"`source` = 'llvip': no such source; there are kaist, .*miniature"):
        parse(FramesSettings, {"source": "llvip", "root": "raw"}, "frames")
    with pytest.raises(SettingsError, match=r"^samples: .* no installed package lists 'annealing'\n.*extending\.md"):
        parse(SamplesSettings, {"search": ANNEALING}, "samples")
    with pytest.raises(WeightsError, match="a StableDiffusionPipeline, for which irgen has no family"):
        generators.load(base(stable_diffusion), STEPS, 3.0, 2, None)


def test_options_are_checked_and_filled_in_when_settings_are_made(installed: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)annealing: unknown field `moovs` \(did you mean `moves`\?\)"):
        parse(SamplesSettings, {"search": ANNEALING | {"options": {"moovs": 3}}}, "samples")
    chosen = parse(SamplesSettings, {"search": ANNEALING}, "samples").search
    assert chosen.options == {"moves": 3, "cosine": 0.7, "temperature": 0.02, "cooling": 0.8}
    assert type(chosen).model_validate(chosen.model_dump(mode="json")) == chosen


def test_the_form_of_a_flow_offers_it(installed: Path) -> None:
    schema = json.dumps(Manifest.model_json_schema())
    assert '"llvip"' in schema and '"ExtensionSearch"' in schema


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("annealing = annealing:Gone", r"'annealing' cannot be imported \(AttributeError"),
        ("annealing = nowhere:Annealing", r"'annealing' cannot be imported \(ModuleNotFoundError"),
        ("annealing = annealing", "'annealing' is no Settings with a VERSION"),
    ],
)
def test_a_package_that_is_broken_is_named(installed: Path, line: str, said: str) -> None:
    (installed / "entry_points.txt").write_text(f"[irgen.searches]\n{line}\n")
    with pytest.raises(SettingsError, match=said):
        parse(SamplesSettings, {"search": ANNEALING}, "samples")


def test_a_name_that_two_packages_take_is_refused(installed: Path) -> None:
    other = installed.parent / "another-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.4\nName: another\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[irgen.searches]\nannealing = another:Annealing\n")
    with pytest.raises(SettingsError, match="2 packages list 'annealing'"):
        parse(SamplesSettings, {"search": ANNEALING}, "samples")
