"""From a mapping to settings, with errors that name every field; and what fields there are."""

import difflib
import reprlib
from collections.abc import Iterator
from typing import Any, Literal, TypeGuard, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from irgen.errors import SettingsError

_BRIEF = reprlib.Repr()
"""Shows the outer part of a value: a few lines of YAML with aliases can be a billion words when written out."""
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 200, 200

S = TypeVar("S", bound=BaseModel)


def parse(model: type[S], document: dict[str, Any], where: str, fix: str = "`irgen settings` lists every field.") -> S:
    """Build settings from a mapping; `where` names the file or option in errors, `fix` says where to look.

    Raises:
        SettingsError: naming every offending field, its value and what is allowed.
    """
    try:
        return model.model_validate(document)
    except SettingsError as error:  # of an extension
        raise SettingsError(f"{where}: {error.what}", error.fix) from error
    except ValidationError as error:
        lines = [_problem(model, problem) for problem in error.errors(include_url=False)]
        raise SettingsError(f"{where}: " + "; ".join(lines), fix) from error


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """List a model's fields, those of nested models after it: dotted name, type, default, description."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        nested = list(_models(field.annotation))
        if not nested:
            default = "required" if field.is_required() else repr(field.default)
            kind = getattr(field.annotation, "__name__", "") if not get_args(field.annotation) else ""
            rows.append((prefix + name, kind or _spelled(field.annotation), default, field.description or ""))
        for part in nested:
            rows.extend(fields(part, f"{prefix}{name}."))
    return rows


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings models in an annotation, however deep in unions and tuples."""
    if _is_model(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _spelled(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return str(annotation).replace("typing.", "")


def _problem(model: type[BaseModel], problem: Any) -> str:
    """Word one of pydantic's errors, naming the field as the manifest spells it."""
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        close = difflib.get_close_matches(name, [one for one in _field_names(model) if one != name], n=1)
        return f"unknown field `{field}`" + (f" (did you mean `{close[0]}`?)" if close else "")
    if problem["type"] == "missing":
        return f"field `{field}` is missing"
    text = problem["msg"].removeprefix("Value error, ")
    if not field or isinstance(problem["input"], dict):
        return f"{field}: {text}" if field else text
    return f"`{field}` = {_BRIEF.repr(problem['input'])}: {text}"


def _field_names(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        if _is_model(field.annotation):
            names.extend(_field_names(field.annotation))
    return names
