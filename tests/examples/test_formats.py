"""The page on data formats says what the code writes."""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from irgen import recording, records, store, weights
from irgen.generators.training import LOSS
from irgen.records import Caption, Frame, Negative, Reject
from irgen.report.measure import Measured
from irgen.search import Prompt, RandomSearch, search
from irgen.settings import BaseSettings, SamplesSettings
from irgen.shards.sample import META
from irgen.stages import labels, samples, shards
from tests.fakes import FakeGenerator, FakeVerifier

TABLE = re.compile(r"^\| ([\w. -]+?) \| type \|\n\|---\|---\|\n((?:\|.*\|\n)+)", re.MULTILINE)
TYPES = {"double": "float64", "large_string": "string"}
SCHEMAS = {
    "frames.parquet": Frame.SCHEMA,
    "box": pa.schema(list(records.BOX)),
    "rejects.parquet": Reject.SCHEMA,
    "captions.parquet": Caption.SCHEMA,
    "negatives.parquet": Negative.SCHEMA,
    "loss.parquet": LOSS,
    "meta of 06-samples": pa.unify_schemas([META, recording.COLUMNS]),
    "index.parquet": pa.unify_schemas([META, shards.COLUMNS]).append(pa.field("shard", pa.string())),
    "labelled box": pa.schema(list(records.LABELLED_BOX)),
    "candidates": recording.CANDIDATES,
    "contrasts": recording.CONTRASTS,
    "labels.parquet": labels.SCHEMA,
}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "formats.md").read_text()


def told(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "list of labelled box" if kind.value_type == records.LABELLED_BOX else "list of box"
    return TYPES.get(str(kind), str(kind))


def tables(page: str) -> dict[str, list[tuple[str, str]]]:
    """Columns and their types, by table."""
    found = {}
    for name, rows in TABLE.findall(page):
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
        found[name] = [(column, kind) for columns, kind in cells for column in columns.split(", ")]
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_table_has_these_columns_of_these_types(page: str, name: str) -> None:
    columns = tables(page)[name]
    assert sorted(columns) == sorted((field.name, told(field.type)) for field in SCHEMAS[name])


def test_every_table_of_the_page_is_compared(page: str) -> None:
    assert {*tables(page)} == {*SCHEMAS, "figures.parquet"}


def test_a_score_sheet_has_these_fields(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "identity_of", lambda base: "")
    monkeypatch.setattr(store, "ref", lambda folder: store.Ref(stage="", path="", content=""))
    settings = SamplesSettings(search=RandomSearch(candidates=2))
    [found] = search(FakeGenerator(), FakeVerifier(), [Prompt(0, "", "")], settings.search, seed=0, attempt=0, batch=2)
    constants = samples._constants(settings, BaseSettings(), tmp_path, tmp_path, None)
    sheet = recording.sample(recording.Plan(Prompt(0, "", ""), ""), [found], "png", constants).sheet
    rows = re.findall(r"^\| ([\w, ]+) \| ", page.partition("### The score sheet")[2].partition("##")[0], re.MULTILINE)
    fields = {name for row in rows[1:] for name in row.split(", ")}
    assert fields == {*sheet, "seed", *(field.name for field in shards.OWN)}


def test_the_reports_figures_have_these_columns(page: str) -> None:
    written = Measured(8, {}, {("scenenet", "fid", "guided"): 6.0}, {}, {}).table()
    schema = pa.Schema.from_pandas(written, preserve_index=False)
    assert [(field.name, told(field.type)) for field in schema] == tables(page)["figures.parquet"]
