"""What settings name by an entry point of an installed package."""

from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from irgen import extensions
from irgen.errors import SettingsError
from irgen.settings.common import Settings
from irgen.settings.parsing import parse


class Extension(Settings):
    """What an installed package brings, by the name that the package gives it."""

    GROUP: ClassVar[str]
    extension: str = Field(description="Its name; see docs/extending.md.")
    options: dict[str, Any] = Field({}, description="Its own settings.")

    @field_validator("options")
    @classmethod
    def _options_are_its_own(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Fill in its defaults, so that a change of them is a change of settings."""
        if "extension" not in info.data:  # which is reported already
            return options
        return _made(cls.GROUP, info.data["extension"], options).model_dump(mode="json")

    def made(self) -> Any:
        """Return its own settings object, which does the work."""
        return _made(self.GROUP, self.extension, self.options)

    @property
    def identity(self) -> str:
        """Its name and the version of its code, for fingerprints."""
        return f"{self.extension} {self.made().VERSION}"


def _made(group: str, name: str, options: dict[str, Any]) -> Any:
    kind = extensions.load(group, name)
    if not (isinstance(kind, type) and issubclass(kind, Settings) and hasattr(kind, "VERSION")):
        raise SettingsError(f"{group}: {name!r} is no Settings with a VERSION", "See docs/extending.md.")
    return parse(kind, options, f"options of {name}", f"See the documentation of {name}.")
