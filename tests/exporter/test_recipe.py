from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from exporter.build import Manifest, load_json
from exporter.errors import BuildError, RecipeError
from exporter.recipe import as_written, export_recipe, load_recipe, resolve
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


def test_a_recipe_that_is_kept_names_no_folder_of_this_machine(tmp_path):
    elsewhere = tmp_path.parent / "secret" / "classes.txt"
    text = f'budget = "../b.toml"\n{GOOD}[output]\nlabels = "{elsewhere}"\n'
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.model.weights == tmp_path / "w.pt"
    kept = as_written(recipe, tmp_path)
    paths = (kept.model.weights, kept.budget, kept.output.labels)
    assert [str(path) for path in paths] == ["w.pt", "../b.toml", "classes.txt"]


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
        ('"1x3x32x24"', '"1x1x8x8"\nmean = [1.0, 2.0]', "1 value, as there is 1 channel"),
        ('"1x3x32x24"', '"8x8"', r"found: +'8x8'\n(.|\n)*channels x height x width"),
        ('"module:make"', '"a/module.py:make"', r'to do: .* not its file: "a\.module:make"'),
        ('"module:data"', '"data.npz"', r"found: +'data\.npz'\n(.|\n)*to do: +write a function"),
        ("shape", 'labels = "l.txt"\nshape', r"in \[input\](.|\n)*belongs to \[output\]"),
        ("[data]", '[data]\nbudget = "b.toml"', r"belongs to the top, before"),
        ("[input]", '[input]\nnames = ["a"]', r"belongs to \[output\]"),
        ("[data]", "[prune]\nepochs = 1\nlr = 1\nramps = [{ at = 1 }]\n[data]", "unknown key 'at'"),
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


def test_a_package_that_the_users_module_lacks_is_named(tmp_path):
    (tmp_path / "lacking_recipe_module.py").write_text("import no_such_package\n")
    with pytest.raises(RecipeError, match="install the package of no_such_package") as caught:
        resolve("lacking_recipe_module:make", tmp_path)
    assert not caught.value.expected


def test_options_that_are_no_numbers_are_named():
    image = {"shape": "1x3x8x8", "dtype": "uint8", "mean": "0.5,a", "std": ""}
    with pytest.raises(RecipeError, match=r"--mean holds no numbers(.|\n)*0\.5,a"):
        export_recipe({"factory": "a:b"}, image, {"calibration": "a:c"}, "net")


def test_a_file_in_place_of_a_build_directory_is_named(tmp_path):
    (tmp_path / "net.tflite").touch()
    with pytest.raises(BuildError, match=r"no build directory(.|\n)*edgewright inspect") as caught:
        load_json(tmp_path / "net.tflite" / "manifest.json", Manifest)
    assert "Errno" not in str(caught.value)


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


def test_the_version_is_that_of_the_package():
    argv = [sys.executable, "-m", "exporter.cli", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"edgewright {metadata.version('edgewright')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["smoke", "nowhere"],
        ["check", "nowhere", "--budget", "nothing.toml"],
    ],
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
