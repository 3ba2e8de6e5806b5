from __future__ import annotations

import subprocess
import sys

import pytest

from exporter.errors import RecipeError
from exporter.recipe import load_recipe, resolve
from exporter.starter import write_starter

GOOD = """
name = "net"
[model]
factory = "module:make"
weights = "w.pt"
[input]
shape = "1x3x32x24"
[data]
calibration = "module:data"
"""


def write(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_the_starter_is_a_valid_recipe(tmp_path):
    recipe = load_recipe(write_starter(tmp_path)[0])
    assert recipe.input.spec().sample_shape == (224, 224, 3)
    with pytest.raises(RecipeError, match="is there already"):
        write_starter(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("shape", "shpe", "did you mean 'shape'"),
        ('"1x3x32x24"', "7", "expected a shape"),
        ('"module:make"', '"module"', "package.module:callable"),
        ('name = "net"', 'name = "../net"', "plain name"),
        ('weights = "w.pt"', "", "nothing trains the model"),
        ("[data]", "[data]\nbatch_size = 0", "greater than or equal to 1"),
        ("[data]\n", "[data", "is not TOML"),
        ("[data]", "mean = [1.0, 2.0]\n[data]", "1 or 3 values"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, words):
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe(write(tmp_path, GOOD.replace(old, new)))
    assert caught.value.exit_code == 2


def test_a_missing_callable_is_named(tmp_path):
    (tmp_path / "some_recipe_module.py").write_text("x = 1\n")
    with pytest.raises(RecipeError, match="cannot be imported"):
        resolve("absent_module:make", tmp_path)
    with pytest.raises(RecipeError, match="is missing"):
        resolve("some_recipe_module:make", tmp_path)
    with pytest.raises(RecipeError, match="is not callable"):
        resolve("some_recipe_module:x", tmp_path)


def test_the_command_line_returns_2_and_one_message(tmp_path):
    path = write(tmp_path, GOOD.replace("shape", "shpe"))
    done = subprocess.run(
        [sys.executable, "-m", "exporter.cli", "run", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean 'shape'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "nowhere", "--budget", "nothing.toml"]]
)
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom exporter import cli\n"
        f"sys.argv = ['edgewright', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'tensorflow', 'onnx', 'onnx_ir', 'onnxruntime', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
