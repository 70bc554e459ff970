from pathlib import Path

import pandas as pd
import pytest

from irgen.report import budgets
from irgen.search import nfe_per_image
from irgen.settings import PathsSearch, RandomSearch, SamplesSettings, Search


def first_and_last(monkeypatch: pytest.MonkeyPatch, search: Search, nfe: list[float], per_forward: int) -> list[float]:
    """Return the NFE of no search and of the whole one, of an image whose candidates took `nfe`."""
    rows = pd.DataFrame({"key": "0", "candidate": range(len(nfe)), "nfe": nfe, "step": 8})
    monkeypatch.setattr(budgets.shards, "candidates", lambda _: rows.assign(nfe=rows["nfe"] * per_forward))
    monkeypatch.setattr(budgets, "settings_of", lambda _: SamplesSettings(steps=8, search=search))
    return [point.nfe for point in budgets.points(Path(), [])]


@pytest.mark.parametrize("per_forward", [1, 2])
def test_an_image_without_search_takes_every_step_once(monkeypatch: pytest.MonkeyPatch, per_forward: int) -> None:
    random = RandomSearch(candidates=3)
    assert first_and_last(monkeypatch, random, [8, 8, 8], per_forward) == [8 * per_forward, 24 * per_forward]
    paths = PathsSearch(paths=2, renoisings=3, length=2)
    whole = nfe_per_image(paths, 8)
    spent = [float(whole - 3 * 9), *[3.0] * 9]
    assert first_and_last(monkeypatch, paths, spent, per_forward) == [8 * per_forward, whole * per_forward]
