"""The recipe: one TOML file says what is built, from which model, with which data."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from exporter.build import Frozen
from exporter.errors import RecipeError
from exporter.inputs import InputSpec
from exporter.settings import read_toml, validate

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


def _callable_name(value: object) -> object:
    if not (isinstance(value, str) and re.fullmatch(r"[\w.]+:[\w.]+", value)):
        raise ValueError('expected "package.module:callable"')
    return value


CallableName = Annotated[str, BeforeValidator(_callable_name)]


def parse_shape(value: object) -> object:
    """Turn "1x3x224x224" or a list into a tuple of sizes."""
    if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)*", value):
        return tuple(int(size) for size in value.split("x"))
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise ValueError('expected a shape such as "1x3x224x224"')


class ModelSection(Frozen):
    """`[model]`: the callable that makes the module, its arguments, and trained weights if any."""

    factory: CallableName
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Path | None = None


class InputSection(Frozen):
    """`[input]`: what the network and the shipped file take."""

    shape: Annotated[tuple[int, int, int, int], BeforeValidator(parse_shape)]
    dtype: Literal["uint8", "int8", "float32"] = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def spec(self) -> InputSpec:
        """The checked form."""
        return InputSpec(self.shape, self.dtype, self.mean, self.std)


class OutputSection(Frozen):
    """`[output]`: integers with a scale, or floats."""

    dtype: Literal["int8", "float32"] = "int8"


class DataSection(Frozen):
    """`[data]`: callables that give torch data sets of (sample, label), or of samples alone.

    `calibration` is where ranges are measured; the training data when it is left out.
    """

    train: CallableName | None = None
    test: CallableName | None = None
    calibration: CallableName | None = None
    batch_size: Count = 64
    calibration_samples: Count = 512


class FitSection(Frozen):
    """Epochs and learning rate of a stretch of training."""

    epochs: Positive
    lr: Positive
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4


class PruneSection(FitSection):
    """`[prune]`: gradual pruning by magnitude over the first part of its epochs."""

    sparsity: Share
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.6
    every: Count = 10
    exempt: tuple[str, ...] = ()


class ShareSection(FitSection):
    """`[share]`: few levels, one step a layer, trained through."""

    step: Positive = 0.35


class QuantizeSection(Frozen):
    """`[quantize]`: calibration, and quantization-aware training when epochs is not 0."""

    exact: bool = True
    epochs: Annotated[float, Field(ge=0)] = 0
    lr: Positive = 1e-3


class VerifySection(Frozen):
    """`[verify]`: how many test samples become golden inputs."""

    samples: Count = 64


class BenchSection(Frozen):
    """`[bench]`: the steady window in seconds, and threads."""

    seconds: Positive = 2.0
    threads: Count = 1


class Recipe(Frozen):
    """A whole recipe. Sections that are left out are stages that are left out."""

    name: str
    seed: int = 0
    model: ModelSection
    input: InputSection
    output: OutputSection = OutputSection()
    data: DataSection
    train: FitSection | None = None
    prune: PruneSection | None = None
    share: ShareSection | None = None
    quantize: QuantizeSection = QuantizeSection()
    verify: VerifySection = VerifySection()
    bench: BenchSection | None = BenchSection()
    budget: Path | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", value):
            raise ValueError("expected a plain name of letters, digits, '_', '-' and '.'")
        return value


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; paths in it are relative to it.

    Raises:
        RecipeError: the file is missing, no TOML, or does not validate.
    """
    recipe = validate(read_toml(path, "recipe"), Recipe, path)
    recipe.input.spec()
    folder = path.resolve().parent
    model, budget = recipe.model, recipe.budget
    if model.weights is not None:
        model = model.model_copy(update={"weights": folder / model.weights})
    if budget is not None:
        budget = folder / budget
    trains = any((recipe.train, recipe.prune, recipe.share, recipe.quantize.epochs))
    if trains and recipe.data.train is None:
        raise RecipeError(
            f"{path}: a stage trains, and [data] names nothing to train on",
            expected='train = "package.module:callable" in [data]',
        )
    if recipe.data.train is None and recipe.data.calibration is None:
        raise RecipeError(
            f"{path}: [data] names nothing to calibrate with",
            expected='calibration or train = "package.module:callable"',
        )
    if recipe.train is None and model.weights is None:
        raise RecipeError(
            f"{path}: nothing trains the model",
            expected="a [train] section, or weights in [model]",
            found="neither",
            remedy="add one of them",
        )
    return recipe.model_copy(update={"model": model, "budget": budget})


def export_recipe(
    model: dict[str, Any], image: dict[str, Any], data: dict[str, Any], name: str
) -> Recipe:
    """The recipe of `edgewright export`: post-training quantization, nothing trained.

    Raises:
        RecipeError: an option has the wrong form.
    """
    lists = {key: [float(v) for v in image[key].split(",") if v] for key in ("mean", "std")}
    document = {"name": name, "model": model, "input": image | lists, "data": data}
    recipe = validate(document, Recipe, Path("options"))
    recipe.input.spec()
    return recipe


def resolve(name: str, folder: Path | None = None) -> Callable[..., Any]:
    """Import "package.module:callable"; `folder` is searched first, then the working directory.

    Raises:
        RecipeError: the module or the callable is missing, or fails to import.
    """
    module_name, _, attribute = name.partition(":")
    for place in (Path.cwd(), folder):
        if place is not None and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"'{name}' cannot be imported",
            expected=f"a module {module_name} in {folder or Path.cwd()} or installed",
            found=str(error),
        ) from None
    except AttributeError:
        raise RecipeError(
            f"'{name}' is missing",
            expected=f"a callable '{attribute}' in {module_name}",
            found=", ".join(n for n in vars(sys.modules[module_name]) if n[0] != "_")[:200],
        ) from None
    except Exception as error:
        raise RecipeError(
            f"'{module_name}' fails while it is imported", found=f"{type(error).__name__}: {error}"
        ) from error
    if not callable(target):
        raise RecipeError(f"'{name}' is not callable", found=type(target).__name__)
    return target  # type: ignore[no-any-return]
