"""The command reference, out of the functions that the command line is made of."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer
from typer.models import ArgumentInfo, OptionInfo

from docs.reference.markdown import table
from exporter.cli import app

_WORDS: Final = {bool: "", str: "TEXT", int: "N", float: "X", Path: "PATH"}


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command, as it is typed."""

    names: str
    metavar: str
    help: str
    default: str
    argument: bool
    required: bool

    @property
    def long_name(self) -> str:
        """The option's last and longest name; of a pair such as `--a/--no-a` the first."""
        return self.names.split(", ")[-1].split("/")[0]


@dataclass(frozen=True)
class Command:
    """One command: its words behind `edgewright`, what it does, what it takes."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]

    def usage(self) -> str:
        """The line to type."""
        parts = ["edgewright", self.name]
        for parameter in self.parameters:
            text = " ".join(filter(None, (parameter.long_name, parameter.metavar)))
            parts.append(text if parameter.required else f"[{text}]")
        return " ".join(parts)


def all_commands(application: typer.Typer = app, prefix: str = "") -> Iterator[Command]:
    """Every command that is not hidden, in the order in which `--help` lists them."""
    for info in application.registered_commands:
        if info.callback is not None and not info.hidden:
            name = info.name or info.callback.__name__.rstrip("_").replace("_", "-")
            text = inspect.cleandoc(info.help or info.callback.__doc__ or "")
            yield Command(prefix + name, text, tuple(_parameters(info.callback)))
    for group in application.registered_groups:
        if group.typer_instance is not None and not group.hidden:
            name = str(group.name or group.typer_instance.info.name)
            yield from all_commands(group.typer_instance, f"{prefix}{name} ")


def _parameters(callback: Any) -> Iterator[Parameter]:
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        base, *marks = typing.get_args(hints[name]) or (hints[name],)
        info = next((m for m in marks if isinstance(m, ArgumentInfo | OptionInfo)), None)
        if info is None or info.hidden:
            continue
        yield _parameter(name, base, info, parameter.default)


def _parameter(name: str, base: Any, info: ArgumentInfo | OptionInfo, default: object) -> Parameter:
    argument = isinstance(info, ArgumentInfo)
    required = default is inspect.Parameter.empty
    many = typing.get_origin(base) is list
    kind = _plain_type(base)
    shown = _default(default)
    if argument:
        metavar = info.metavar or name.rstrip("_").upper() + ("..." if many else "")
        return Parameter("", metavar, info.help or "", shown, argument, required)
    names = [*(info.param_decls or ()), info.default if isinstance(info.default, str) else ""]
    typed = sorted((text for text in names if text.startswith("-")), key=len)
    metavar = info.metavar or _WORDS.get(kind, "TEXT")
    return Parameter(
        ", ".join(typed) or f"--{name.rstrip('_').replace('_', '-')}",
        metavar,
        info.help or "",
        shown,
        argument,
        required,
    )


def _plain_type(base: Any) -> Any:
    """The type inside `X | None` and `list[X]`."""
    if typing.get_origin(base) in (types.UnionType, typing.Union, list):
        return _plain_type(next(t for t in typing.get_args(base) if t is not type(None)))
    return base


def _default(value: object) -> str:
    if value is inspect.Parameter.empty or value in (None, "", False):
        return ""
    return f"`{value}`"


def commands() -> str:
    """The body of docs/commands.md."""
    sections = []
    for command in all_commands():
        parts = [f"## {command.name}", f"```text\n{command.usage()}\n```", command.help]
        rows = [
            (f"`{' '.join(filter(None, (p.names, p.metavar)))}`", p.help, p.default)
            for p in command.parameters
        ]
        if rows:
            parts.append(table(("", "meaning", "default"), rows))
        sections.append("\n\n".join(parts))
    return "\n\n".join(sections)
