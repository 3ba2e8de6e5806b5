"""Settings files: TOML in, frozen and validated models out, one clear message for each mistake."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)


class FieldError(ValueError):
    """A value that a validator refuses, with what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def read_toml(path: Path, what: str, *, hint: str = "") -> dict[str, Any]:
    """Read a TOML file; `what` names it in messages, such as "recipe".

    `hint` is what to do where it is no TOML.

    Raises:
        RecipeError: it is missing, cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{what} {path} is missing",
            expected="a TOML file",
            found="no such file",
            remedy="name another file, or write one with `edgewright init`",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{what} {path} cannot be read", found=str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{what} {path} is not TOML", found=str(error), remedy=hint) from None


def validate(document: dict[str, Any], model: type[Model], path: Path) -> Model:
    """Validate a document; the first mistake becomes the message.

    Raises:
        RecipeError: an unknown key (with the nearest known one), a missing one, or a wrong type.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        # A misspelt key also shows as a missing one: the misspelling is the cause.
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        raise _unknown_key(path, where, _fields(model, first["loc"][:-1]), model)
    problem = first["msg"].removeprefix("Value error, ")
    found = "nothing" if first["type"] == "missing" else repr(first["input"])
    cause = first.get("ctx", {}).get("error")
    remedy = cause.remedy if isinstance(cause, FieldError) else ""
    raise RecipeError(f"{path}: {where or 'the document'}: {problem}", found=found, remedy=remedy)


def _unknown_key(path: Path, where: str, known: list[str], model: type[BaseModel]) -> RecipeError:
    table, _, key = where.rpartition(".")
    homes = [home for home in _homes(model, key) if home != table]
    near = difflib.get_close_matches(key, known, n=1)
    hints = [f"did you mean '{near[0]}'?"] if near else []
    if homes:
        places = [f"[{home}]" if home else "the top, before the first [section]" for home in homes]
        hints.append(f"'{key}' belongs to {' or '.join(places)}: move it there")
    return RecipeError(
        f"{path}: unknown key '{key}' in {f'[{table}]' if table else 'the top level'}",
        expected=f"one of: {', '.join(known)}",
        found=key,
        remedy=" ".join(hints) or "remove it",
    )


def _homes(model: type[BaseModel], key: str) -> list[str]:
    """The tables that have a key, "" for the top level."""
    tables = [(name, _table(field.annotation)) for name, field in model.model_fields.items()]
    homes = [name for name, table in tables if table is not None and key in table.model_fields]
    return [""] * (key in model.model_fields) + homes


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation, `Section` or `Section | None`; None for plain values."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at `place`."""
    current: Any = model
    for part in (part for part in place if isinstance(part, str)):  # not the index in a list
        current = _table(current.model_fields[part].annotation)
    return list(current.model_fields)
