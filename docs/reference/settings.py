"""The references of recipes and budgets.

Keys, types and defaults come out of the models that validate them; meanings out of the commented
examples that `edgewright init` writes.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.reference.markdown import table
from exporter.fit_recipe import FitSection
from exporter.gate.budget import Limits
from exporter.gate.units import Quantity
from exporter.recipe import Recipe
from exporter.starter import BUDGET, RECIPE

_TYPES: Final = {
    bool: "true or false",
    str: "text",
    int: "whole number",
    float: "number",
    Path: "path",
    dict: "table",
}


@dataclass(frozen=True)
class Key:
    """One key of a settings file. `table` is the TOML table that it stands in, "" for the top."""

    table: str
    name: str
    kind: str
    default: str
    meaning: str


def recipe_keys() -> list[Key]:
    """Every key that a recipe may have."""
    return list(_model_keys(Recipe, "", comments(RECIPE)))


def budget_keys() -> list[Key]:
    """Every limit that a section of a budget may have."""
    meanings = comments(BUDGET)
    section = next(table for table, _ in meanings if table)
    return [
        Key(section, name, "", "", field.description or meanings.get((section, name), ""))
        for name, field in Limits.model_fields.items()
    ]


def _model_keys(
    model: type[BaseModel], where: str, meanings: dict[tuple[str, str], str]
) -> Iterator[Key]:
    tables = []
    for name, field in model.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None:
            tables.append((name, inner))
            continue
        meaning = meanings.get((where, name)) or field.description or ""
        if not meaning and issubclass(model, FitSection):
            # Every section that trains has these: they are explained where they come first.
            meaning = meanings.get(("train", name), "")
        yield Key(where, name, kind_of(field), _field_default(field), meaning)
    for name, inner in tables:
        yield from _model_keys(inner, f"{where}.{name}".lstrip("."), meanings)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if typing.get_origin(annotation) is tuple:  # a list of inline tables is one key
        return None
    options = [annotation, *typing.get_args(annotation)]
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def kind_of(field: FieldInfo) -> str:
    """A field's type and bounds in words."""
    bounds = []
    for mark in [*field.metadata, *_inner_marks(field.annotation)]:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if hasattr(mark, name):
                bounds.append(f"{sign} {getattr(mark, name)}")
    return ", ".join([_kind(field.annotation), *dict.fromkeys(bounds)])


def _inner_marks(annotation: Any) -> Iterator[Any]:
    for option in typing.get_args(annotation):
        if typing.get_origin(option) is Annotated:
            for mark in typing.get_args(option)[1:]:
                yield from getattr(mark, "metadata", [mark])


def _kind(annotation: Any) -> str:
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated and any(_reads_quantity(mark) for mark in inside[1:]):
        return "number, or text with a unit"
    if origin is Annotated:
        return _kind(inside[0])
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in inside)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(option) for option in inside if option is not type(None))
    if origin is tuple:
        return f"list of {_kind(inside[0])}"
    return _named(origin or annotation)


def _named(annotation: Any) -> str:
    """A plain type, or the keys of an inline table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "{ " + ", ".join(annotation.model_fields) + " }"
    return _TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _reads_quantity(mark: Any) -> bool:
    return isinstance(getattr(getattr(mark, "func", None), "__self__", None), Quantity)


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory() if field.default_factory is not None else None  # type: ignore[call-arg]
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


_TABLE: Final = re.compile(r"(#\s)?\[(?P<name>[^\]]+)\]\s*(#\s*(?P<comment>.*))?")
_ENTRY: Final = re.compile(r"(#\s)?(?P<name>\w+) = (?P<value>[^#]*?)\s*(#\s*(?P<comment>.*))?")
_MORE: Final = re.compile(r"\s+#\s*(?P<comment>.*)")


def comments(text: str) -> dict[tuple[str, str], str]:
    """What a commented TOML text says of each (table, key); of a table under the key "".

    A table or key may be commented out itself (`# key = value  # comment`); a comment may go on in
    lines that hold nothing else and are indented.
    """
    found: dict[tuple[str, str], str] = {}
    table, last = "", ("", "")
    for line in text.splitlines():
        if match := _TABLE.fullmatch(line):
            table = match["name"]
            last = (table, "")
            found[last] = match["comment"] or ""
        elif match := _ENTRY.fullmatch(line):
            last = (table, match["name"])
            found[last] = match["comment"] or ""
        elif match := _MORE.fullmatch(line):
            found[last] = f"{found[last]} {match['comment']}"
    return found


def recipe() -> str:
    """The body of docs/recipe.md."""
    keys, meanings = recipe_keys(), comments(RECIPE)
    sections = []
    for name in dict.fromkeys(key.table for key in keys):
        rows = [(f"`{k.name}`", k.meaning, k.kind, k.default) for k in keys if k.table == name]
        parts = [f"## [{name}]" if name else "## Top level"]
        if meanings.get((name, "")):
            parts.append(_sentence(meanings[name, ""]))
        sections.append("\n\n".join([*parts, table(("key", "meaning", "type", "default"), rows)]))
    return "\n\n".join(sections)


def budget() -> str:
    """The body of docs/budget.md."""
    rows = [(f"`{key.name}`", key.meaning) for key in budget_keys()]
    return table(("limit", "meaning"), rows)


def starter(text: str) -> str:
    """A starter file as a fenced block."""
    return f"```toml\n{text.rstrip()}\n```"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
