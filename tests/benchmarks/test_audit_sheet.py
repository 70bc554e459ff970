import importlib
from pathlib import Path

import numpy as np

from irgen.audit import open_session
from tests.finished import HEIGHT_PX, WIDTH_PX, finished, key

ENLARGE = 3


def test_a_sheet_shows_every_image_bare_and_with_what_was_said_of_its_boxes(tmp_path: Path):
    audit_sheet = importlib.import_module("audit_sheet")
    session = open_session(finished(tmp_path / "tiny"), 100, 0)
    subjects = [session.subjects[key(number)] for number in (11, 14, 20)]
    names = ("label", "x_px", "y_px", "w_px", "h_px")
    places = [{name: getattr(box, name) for name in names} for box in subjects[1].boxes]
    verdicts = [{"verdict": said, "place": place} for said, place in zip(("accept", "reject"), places, strict=True)]
    session.answer(key(14), {"verdicts": verdicts, "added": [], "done": True})
    page = np.asarray(audit_sheet.sheet(session, subjects, 2, ENLARGE, answered=True))
    tile = audit_sheet.tile(session, subjects[1], ENLARGE, answered=True)
    assert tile.size[0] >= 2 * WIDTH_PX * ENLARGE and tile.size[1] > HEIGHT_PX * ENLARGE
    assert page.shape[0] >= 2 * tile.size[1] and page.shape[1] >= 2 * tile.size[0]
    bare, boxed = np.split(np.asarray(tile)[:, : tile.size[0] // 2 * 2], 2, axis=1)
    for said in ("accept", "reject"):
        colour = tuple(int(audit_sheet.COLOURS[said][at : at + 2], 16) for at in (1, 3, 5))
        assert (boxed == colour).all(-1).any() and not (bare == colour).all(-1).any()
