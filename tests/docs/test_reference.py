"""The references are complete: nothing that can be typed is without its explanation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import BaseModel, Field

from docs.reference.commands import Command, all_commands
from docs.reference.markdown import table
from docs.reference.settings import comments, kind_of, recipe_keys
from exporter.starter import BUDGET, RECIPE

ROOT = Path(__file__).parents[2]
COMMANDS = {command.name: command for command in all_commands()}
KEYS = {f"{key.table}.{key.name}".lstrip("."): key for key in recipe_keys()}


def headings(page: str) -> list[str]:
    return re.findall(r"(?m)^## (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"))


def test_the_commands_of_the_page_are_those_of_the_program():
    assert headings("commands.md") == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_all_that_it_takes_are_explained(name):
    command = COMMANDS[name]

    assert command.help
    assert [p.names or p.metavar for p in command.parameters if not p.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_usage_line_names_options_that_the_program_knows(name):
    argv = [sys.executable, "-m", "exporter.cli", *name.split(), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=plain_terminal())

    assert done.returncode == 0, done.stderr
    documented = re.findall(r"--[a-z][a-z-]*", COMMANDS[name].usage())
    known = set(re.findall(r"--[a-z][a-z-]*", done.stdout))
    assert set(documented) <= known
    assert {option for option in known if not option.startswith("--no-")} - {"--help"} <= set(
        documented
    )


def plain_terminal() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


@pytest.mark.parametrize("name", KEYS)
def test_a_recipe_key_is_explained(name):
    assert KEYS[name].meaning, f"give {name} a comment in exporter/starter.py, or a description"


@pytest.mark.parametrize("name", KEYS)
def test_a_recipe_key_is_on_the_page(name):
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    section = page.partition(f"## [{KEYS[name].table}]" if KEYS[name].table else "## Top level")[2]

    assert f"| `{KEYS[name].name}` |" in section.partition("\n## ")[0]


def test_the_starter_mentions_no_key_that_recipes_do_not_have():
    mentioned = {f"{table}.{key}".lstrip(".") for table, key in comments(RECIPE) if key}

    assert mentioned <= set(KEYS)


@pytest.mark.parametrize("text", [RECIPE, BUDGET], ids=["recipe", "budget"])
def test_comments_are_read_of_every_key_that_toml_reads(text):
    read = comments(text)

    def walk(document, where):
        for key, value in document.items():
            place = f"{where}.{key}".lstrip(".")
            if isinstance(value, dict) and (place, "") in read:
                yield from walk(value, place)
            elif isinstance(value, dict) and not where:
                quoted = next(table for table, _ in read if table.startswith(f"{key}."))
                yield from walk(next(iter(value.values())), quoted)
            else:
                yield where, key

    assert {place for place in walk(tomllib.loads(text), "")} <= set(read)


def test_generated_text_is_current():
    pages = re.search(r"(?m)^GENERATED := (.*)$", (ROOT / "Makefile").read_text())[1].split()
    argv = [sys.executable, "-m", "cogapp", "-I", ".", "-U", "--check", "--diff", *pages]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"


def example(
    file: Annotated[Path, typer.Argument(help="a file")],
    more: Annotated[list[str] | None, typer.Option("-m", "--more", help="things")] = None,
    fast: Annotated[bool, typer.Option(help="hurry")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a document")] = False,
    count: Annotated[int, typer.Option(help="how many")] = 3,
) -> None:
    """Do something.

    At length.
    """


@pytest.fixture
def application():
    inner = typer.Typer()
    inner.command("list")(example)
    app = typer.Typer()
    app.command()(example)
    app.command(hidden=True)(plain_terminal)
    app.add_typer(inner, name="things")
    return app


def test_commands_are_read_as_they_are_typed(application):
    first, second = all_commands(application)

    assert (first.name, second.name) == ("example", "things list")
    assert first.help == "Do something.\n\nAt length."
    assert first.usage() == "edgewright example FILE [--more TEXT] [--fast] [--json] [--count N]"
    assert [p.names for p in first.parameters] == ["", "-m, --more", "--fast", "--json", "--count"]
    assert [p.default for p in first.parameters] == ["", "", "", "", "`3`"]
    assert isinstance(second, Command)


class Model(BaseModel):
    share: Annotated[float, Field(ge=0, lt=1)]
    names: tuple[str, ...] = ()
    sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("share", "number, ≥ 0, < 1"),
        ("names", "list of text"),
        ("sizes", "list of whole number"),
    ],
)
def test_types_and_bounds_in_words(name, kind):
    assert kind_of(Model.model_fields[name]) == kind


def test_comments_go_on_and_keys_may_be_commented_out():
    text = '[a]  # about a\nx = 1  # one\n       # and more\n# y = "z"  # off\nw = 2\n'

    assert comments(text) == {
        ("a", ""): "about a",
        ("a", "x"): "one and more",
        ("a", "y"): "off",
        ("a", "w"): "",
    }


def test_bars_do_not_break_a_table():
    assert table(["a"], [["x | y"]]).splitlines()[2] == "| x \\| y |"
