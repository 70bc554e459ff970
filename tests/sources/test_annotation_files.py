import gzip
import io
import tarfile
from collections import Counter
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import SourceError
from irgen.records import Box
from irgen.sources.annotation_files import (
    MAX_BYTES,
    Annotation,
    BadAnnotationError,
    open_set,
    parse_caltech,
    parse_xml,
)

HEADER = "% bbGt version=3\n"
numbers = st.one_of(st.integers(-100, 700).map(float), st.floats(-100, 700).map(lambda value: round(value, 3)))
labels = st.from_regex(r"[a-z?]{1,8}", fullmatch=True)
boxes = st.lists(
    st.builds(Box, labels, numbers, numbers, numbers, numbers, st.integers(0, 2), st.booleans()), max_size=4
)


def as_caltech(boxes, end="\n"):
    rows = [
        f"{box.label} {box.x_px} {box.y_px} {box.w_px} {box.h_px} {box.occlusion} 0 0 0 0 {int(box.ignore)} 0"
        for box in boxes
    ]
    return end.join(["% bbGt version=3", *rows, ""])


def as_xml(boxes, tags="xywh", size=(640, 512)):
    objects = "".join(
        f"<object><name>{escape(box.label)}</name><bndbox><x>{box.x_px}</x><y>{box.y_px}</y><w>{box.w_px}</w>"
        f"<h>{box.h_px}</h></bndbox><difficult>{int(box.ignore)}</difficult><occlusion>{box.occlusion}</occlusion></object>"
        for box in boxes
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


@settings(max_examples=60, deadline=None)
@given(boxes, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_caltech_text_comes_back_whatever_the_line_ends(boxes, end, bom):
    data = (b"\xef\xbb\xbf" if bom else b"") + as_caltech(boxes, end).encode()
    assert parse_caltech(data, "a.txt") == Annotation("a.txt", tuple(boxes))


@settings(max_examples=60, deadline=None)
@given(boxes, st.booleans())
def test_xml_comes_back(boxes, bom):
    data = (b"\xef\xbb\xbf" if bom else b"") + b"\n" * (not bom) + as_xml(boxes).encode()
    assert parse_xml(data, "a.xml") == Annotation("a.xml", tuple(boxes), 640, 512)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda text: (HEADER + text).encode())))
def test_garbage_is_an_annotation_or_a_named_error_never_another(data):
    for parse in (parse_caltech, parse_xml):
        try:
            assert isinstance(parse(data), Annotation)
        except BadAnnotationError as error:
            assert str(error)


def test_corners_of_plain_voc_are_understood():
    data = (
        b"<annotation><object><name>person</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>15</xmax>"
        b"<ymax>40</ymax></bndbox></object></annotation>"
    )
    assert parse_xml(data) == Annotation("", (Box("person", 10, 20, 5, 20),), 0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        (HEADER + "person 1 2 3", "line 2 has 4 fields"),
        (HEADER + "person 1 2 3 4 0 0 0 0 0 0", "line 2 has 11 fields, not 12"),
        (HEADER + "person 1 2 x 4 0 0 0 0 0 0 0", "'x' is not a number"),
        (HEADER + "person 1 2 nan 4 0 0 0 0 0 0 0", "'nan' is not a number"),
        (HEADER + "person 1 2 3 4 7 0 0 0 0 0 0", "occlusion '7'"),
    ],
)
def test_malformed_text_says_where(text, says):
    with pytest.raises(BadAnnotationError, match=says):
        parse_caltech(text.encode())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not well-formed"),
        ("<annotation><object>", "not well-formed"),
        ("<html/>", "root is <html>"),
        ("<annotation><object><bndbox/></object></annotation>", "no <name>"),
        ("<annotation><object><name>person</name></object></annotation>", "no <bndbox>"),
        ("<annotation><object><name>person</name><bndbox><x>1</x></bndbox></object></annotation>", "<y>"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "not well-formed"),
    ],
)
def test_malformed_xml_says_what(text, says):
    with pytest.raises(BadAnnotationError, match=says):
        parse_xml(text.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_a_dtd_is_refused_in_any_encoding(encoding):
    laughs = "".join(f'<!ENTITY l{n} "&l{n - 1};&l{n - 1};">' for n in range(1, 40))
    bomb = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation>&l39;</annotation>'
    with pytest.raises(BadAnnotationError, match="DTD"):
        parse_xml(bomb.encode(encoding))
    outside = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
    with pytest.raises(BadAnnotationError, match="DTD"):
        parse_xml(outside.encode(encoding))


def test_deeply_nested_xml_does_no_harm():
    with pytest.raises(BadAnnotationError):
        parse_xml(b"<a>" * 300_000)
    assert parse_xml(b"<annotation>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</annotation>").boxes == ()


FILES = {
    "annotations/set00/V000/I00001.txt": (HEADER + "person 1 2 3 4 0 0 0 0 0 0 0\n").encode(),
    "annotations/set00/V000/I00003.XML": as_xml([Box("people", 5, 6, 7, 8)]).encode(),
    "annotations/set03_V001_I00007.txt": HEADER.encode(),
    "annotations/set03_V001_I00009.txt": b"person 1",
    "annotations/notes.txt": b"about these files",
    "annotations/README.md": b"about these files",
    "annotations/set00/V000/._I00001.txt": b"mac",
}


def write_folder(folder):
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "annotations"


def write_tar(path, files=FILES, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def contents(opened):
    found = {}
    for frame_id in opened.files:
        try:
            annotation = opened.of(frame_id)
            found[frame_id] = (annotation.boxes, annotation.width_px, annotation.height_px)
        except BadAnnotationError as error:
            found[frame_id] = str(error)
    return found, sorted((reject.reason, reject.item.rsplit("/", 1)[-1]) for reject in opened.rejects)


@pytest.mark.parametrize(("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("A.TAR", "w")])
def test_an_archive_reads_as_its_folder_does(tmp_path, name, mode):
    folder = contents(open_set(write_folder(tmp_path)))
    assert contents(open_set(write_tar(tmp_path / name, mode=mode))) == folder
    assert set(folder[0]) == {"set00/V000/I00001", "set00/V000/I00003", "set03/V001/I00007", "set03/V001/I00009"}
    assert folder[1] == [("bad_name", "notes.txt")]
    assert "line 1 has 2 fields" in folder[0]["set03/V001/I00009"]


def test_two_files_of_one_frame_are_one_annotation_and_a_reject_in_any_order(tmp_path):
    files = {
        "set00/V000/I00001.txt": HEADER.encode(),
        "set00/V000/I00001.xml": as_xml([Box("person", 1, 1, 1, 1)]).encode(),
    }
    for order in (files, dict(reversed(files.items()))):
        opened = open_set(write_tar(tmp_path / "a.tar.gz", order))
        assert opened.files == {"set00/V000/I00001": "set00/V000/I00001.txt"}
        assert opened.of("set00/V000/I00001").boxes == ()
        assert [(one.reason, one.path) for one in opened.rejects] == [
            ("duplicate_annotation", "a.tar.gz/set00/V000/I00001.xml")
        ]


def test_members_that_lead_out_links_and_huge_files_are_refused(tmp_path):
    path = write_tar(
        tmp_path / "a.tar.gz",
        {
            "../set00/V000/I00001.txt": HEADER.encode(),
            "/set00/V000/I00002.txt": HEADER.encode(),
            "./set00/V000/I00003.txt": HEADER.encode(),
            "set00/V000/I00004.txt": HEADER.encode() + b" " * MAX_BYTES,
        },
    )
    opened = open_set(path)
    assert Counter(one.reason for one in opened.rejects) == {"unsafe_name": 2}
    assert opened.of("set00/V000/I00003").boxes == ()
    with pytest.raises(BadAnnotationError, match="over"):
        opened.of("set00/V000/I00004")
    assert opened.of("set00/V000/I00005") is None
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("set00/V000/I00001.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BadAnnotationError, match="empty"):
        open_set(tmp_path / "link.tar").of("set00/V000/I00001")
    huge = tmp_path / "folder" / "set00_V000_I00001.txt"
    huge.parent.mkdir()
    huge.write_bytes(HEADER.encode() + b" " * MAX_BYTES)
    with pytest.raises(BadAnnotationError, match="over"):
        open_set(huge.parent).of("set00/V000/I00001")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_cut_archive_is_damaged_not_shorter(tmp_path, kept):
    data = write_tar(tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SourceError, match=r"cut\.tar\.gz: damaged"):
        open_set(tmp_path / "cut.tar.gz")


def test_an_archive_cut_between_two_members_is_damaged_too(tmp_path):
    files = {f"set00/V000/I0000{n}.txt": HEADER.encode() + b"%" * (512 - len(HEADER)) for n in range(3)}
    data = write_tar(tmp_path / "whole.tar", files, "w").read_bytes()[: 2 * 1024]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getnames()) == 2
    (tmp_path / "cut.tar").write_bytes(data)
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(data))
    for name in ("cut.tar", "cut.tar.gz"):
        with pytest.raises(SourceError, match="cut before its end"):
            open_set(tmp_path / name)


def test_what_is_no_archive_or_has_no_annotation_says_so(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"no gzip at all")
    with pytest.raises(SourceError, match="damaged"):
        open_set(tmp_path / "a.tar.gz")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "V000.vbb").write_bytes(b"matlab")
    with pytest.raises(SourceError, match=r"folder: no annotation named[\s\S]*vbb"):
        open_set(tmp_path / "folder")


@pytest.mark.shared
def test_all_95324_annotations_of_kaist_are_counted(shared):
    opened = open_set(shared / "kaist" / "annotations-xml-all-95324.tar.gz")
    counts = Counter(box.label for frame_id in opened.files for box in opened.of(frame_id).boxes)
    assert len(opened.files) == 95_324
    assert counts == {"person": 87_297, "people": 14_209, "cyclist": 6_538, "person?": 1_585}
    assert opened.rejects == []
