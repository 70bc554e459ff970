import pytest
from pydantic import Field

from irgen.errors import SettingsError
from irgen.settings import Settings, fields, parse


class Lens(Settings):
    focal_mm: int = Field(8, ge=1, description="Of the lens.")


class Shutter(Settings):
    open_ms: float = Field(description="How long.")


class Camera(Settings):
    name: str = Field(description="On its back.")
    front: Lens | Shutter = Field(Lens(), description="What the light passes.")


def test_fields_of_nested_models_follow_with_dotted_names():
    assert fields(Camera) == [
        ("name", "str", "required", "On its back."),
        ("front.focal_mm", "int", "8", "Of the lens."),
        ("front.open_ms", "float", "required", "How long."),
    ]


def test_every_offending_field_is_named_in_one_error():
    with pytest.raises(SettingsError) as caught:
        parse(Lens, {"focal_mm": 0, "aperture": 2}, "lens.yaml", "Read the manual.")
    for part in ("lens.yaml", "`focal_mm` = 0", "unknown field `aperture`", "Read the manual."):
        assert part in str(caught.value)


def test_a_missing_field_is_named():
    with pytest.raises(SettingsError, match="field `open_ms` is missing"):
        parse(Shutter, {}, "shutter.yaml")


def test_a_huge_value_is_shown_in_brief():
    with pytest.raises(SettingsError) as caught:
        parse(Lens, {"focal_mm": [["x" * 10_000] * 1_000] * 1_000}, "lens.yaml")
    assert len(str(caught.value)) < 10_000
