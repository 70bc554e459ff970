from pathlib import Path
from typing import Any

import pytest
import yaml

from irgen.errors import SettingsError
from irgen.studies.settings import check, is_study, load

BASE = {"dataset": "tiny", "frames": {"source": "miniature"}, "samples": {"images": 8}}


def write(folder: Path, **changes: Any) -> Path:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(BASE))
    document = {"study": "s", "question": "Does it?", "base": "tiny.yaml", "variants": {"a": {}}, **changes}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    return path


def test_every_variant_runs_with_every_seed_in_the_studys_own_folder(tmp_path: Path) -> None:
    path = write(tmp_path, variants={"a": {}, "b": {"samples.steps": 9}}, set={"samples.images": 4})
    study, runs = load(path)
    assert study.seeds == (0, 1, 2)
    assert [(run.variant, run.seed) for run in runs] == [(name, seed) for name in "ab" for seed in range(3)]
    assert {run.manifest.dataset for run in runs} == {"s"} and {run.manifest.samples.images for run in runs} == {4}
    assert [run.manifest.samples.steps for run in runs] == [28] * 3 + [9] * 3
    assert [run.manifest.samples.seed for run in runs] == [0, 1, 2] * 2


def test_a_variant_overrides_what_is_set_for_all(tmp_path: Path) -> None:
    _, runs = load(write(tmp_path, set={"samples.images": 4}, variants={"a": {"samples.images": 5}}))
    assert runs[0].manifest.samples.images == 5


def test_seeds_go_where_the_study_says_a_list_of_them_as_its_only_member(tmp_path: Path) -> None:
    _, runs = load(write(tmp_path, seeded=["verifier.seeds", "samples.seed"], seeds=[4, 5, 6]))
    assert [run.manifest.verifier.seeds for run in runs] == [(4,), (5,), (6,)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1]}, "seeds"),
        ({"variants": {"a": {"samples.imagse": 4}}}, "variant a: unknown field `samples.imagse`"),
        ({"variants": {"a": {"dataset.x.y": 4}}}, "dataset is no section"),
        ({"variants": {}}, "variants"),
        ({"base": "absent.yaml"}, "absent.yaml: cannot be read"),
        ({"question": None}, "field `question` is missing"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(write(tmp_path, **changes))


def test_stages_of_a_study_are_not_made_anew(tmp_path: Path) -> None:
    assert check(write(tmp_path), "").study == "s"
    with pytest.raises(SettingsError, match="samples cannot be made anew"):
        check(write(tmp_path), "samples")


def test_a_studys_manifest_is_known_by_its_field(tmp_path: Path) -> None:
    assert is_study(write(tmp_path))
    assert not is_study(tmp_path / "tiny.yaml") and not is_study(tmp_path / "absent.yaml")


def test_the_shipped_studies_can_be_read(repository: Path) -> None:
    shipped = sorted((repository / "manifests").glob("study-*.yaml"))
    assert len(shipped) > 1
    for path in shipped:
        study, runs = load(path)
        assert len(runs) == len(study.variants) * 3 and study.study == path.stem
