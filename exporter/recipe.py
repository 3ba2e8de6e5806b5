"""The recipe: one TOML file says what is built, from which model, with which data."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_validator

from exporter.build import Activations, Frozen
from exporter.compress_recipe import ChannelsSection, PruneSection, ShareSection
from exporter.errors import RecipeError
from exporter.fit_recipe import (
    CallableName,
    Count,
    DistillSection,
    FitSection,
    LoopSection,
    Positive,
    Share,
)
from exporter.inputs import InputSpec
from exporter.option_words import DOCUMENT
from exporter.settings import FieldError, read_toml, validate


def _automatic(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"auto:[1-9]\d*", value):
        raise ValueError('expected a list of layers, or "auto:N" with N from 1 on')
    return value


ChosenLayers = Annotated[str | tuple[str, ...], BeforeValidator(_automatic)]


def layers_named(text: str) -> str | tuple[str, ...]:
    """Layers as an option has them: names with commas between them, or "auto:N"."""
    if text.startswith("auto"):
        return text
    return names_in(text)


def names_in(text: str) -> tuple[str, ...]:
    """Names with commas between them, as an option has them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_shape(value: object) -> object:
    """Turn "1x3x224x224" or a list into a tuple of sizes."""
    sizes: tuple[object, ...] = ()
    if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)*", value):
        sizes = tuple(int(size) for size in value.split("x"))
    if isinstance(value, (list, tuple)):
        sizes = tuple(value)
    if len(sizes) != 4:
        raise FieldError(
            'expected a shape such as "1x3x224x224"',
            "give four numbers: 1 x channels x height x width",
        )
    return sizes


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
    """`[output]`: integers with a scale, or floats; their names, and what each class is called.

    `onnx_forms` are written beside NAME.int8.onnx, which has DequantizeLinear and QuantizeLinear
    around operators, and uint8 activations: "qoperator" has integer operators, "s8s8" int8
    activations.
    """

    dtype: Literal["int8", "float32"] = "int8"
    names: tuple[str, ...] = ()
    labels: Path | None = None
    onnx_forms: tuple[Literal["qoperator", "s8s8"], ...] = ()


class DataSection(Frozen):
    """`[data]`: callables that give torch data sets of (sample, label), or of samples alone.

    `calibration` is where ranges are measured; the training data when it is left out. `validation`
    is what chooses while training goes on; the test data when it is left out. Networks classify
    unless `loss` and `score`, callables of (outputs, targets), say what is learned and what counts.
    """

    train: CallableName | None = None
    test: CallableName | None = None
    validation: CallableName | None = None
    calibration: CallableName | None = None
    loss: CallableName | None = None
    score: CallableName | None = None
    batch_size: Count = 64
    calibration_samples: Count = 512


class QuantizeSection(Frozen):
    """`[quantize]`: calibration, and quantization-aware training when epochs is not 0.

    `equalize`, `pair_channels`, `adaptive_rounding` and `bias_correction` are for post-training
    quantization (epochs is 0); `ptq = "best"` tries all of them and keeps what is measured to be
    better. `float_layers` stay float in all int8 files: convolutions and dense layers by the
    module's names or patterns, or "auto:3" for the three whose weights cost most. Of
    `int16_layers`, named likewise, the results stay int16. `activations` is the type of the values
    between operators: with "int16" weights stay int8, and `exact` has no effect.
    """

    exact: bool = True
    small_parts: bool = True
    ptq: Literal["minmax", "percentile", "mse", "kl", "best"] = "minmax"
    equalize: bool = False
    pair_channels: bool = True
    adaptive_rounding: bool = False
    bias_correction: bool = True
    float_layers: ChosenLayers = ()
    int16_layers: ChosenLayers = ()
    activations: Activations = "int8"
    epochs: Annotated[float, Field(ge=0)] = 0
    lr: Positive = 1e-3
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    keep: Literal["last", "best"] = "last"

    def fitting(self) -> FitSection:
        """The stretch of training; of batch norms none is left by then."""
        return FitSection(
            epochs=self.epochs,
            lr=self.lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            keep=self.keep,
        )


class VerifySection(Frozen):
    """`[verify]`: how many test samples become golden inputs; whether layers are compared too."""

    samples: Count = 64
    layers: bool = False


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
    loop: LoopSection = LoopSection()
    train: FitSection | None = None
    distill: DistillSection | None = None
    channels: ChannelsSection | None = None
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


Section = TypeVar("Section", bound=Frozen)

TRAINING: Final = ("train", "channels", "prune", "share", "quantize")
"""Sections that train."""


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; paths in it are relative to it.

    Raises:
        RecipeError: the file is missing, no TOML, or does not validate.
    """
    recipe = validate(read_toml(path, "recipe"), Recipe, path)
    recipe.input.spec()
    recipe = _with_paths(recipe, path.resolve().parent.joinpath)
    trains = any(
        (recipe.train, recipe.channels, recipe.prune, recipe.share, recipe.quantize.epochs)
    )
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
    if recipe.train is None and recipe.model.weights is None:
        raise RecipeError(
            f"{path}: nothing trains the model",
            expected="a [train] section, or weights in [model]",
            found="neither",
            remedy="add one of them",
        )
    _check_choosing(recipe, path)
    _check_precision(recipe, path)
    _check_forms(recipe, path)
    return recipe


def as_written(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with paths relative to its folder again: those of this machine are nobody's news.

    Of an absolute path that leads elsewhere the last part stays.
    """

    def shortened(path: Path) -> Path:
        if path.is_relative_to(folder):
            return path.relative_to(folder)
        return Path(path.name) if path.is_absolute() else path

    return _with_paths(recipe, shortened)


def _with_paths(section: Section, change: Callable[[Path], Path]) -> Section:
    """A copy in which every path is changed, in the sections inside, too."""
    update: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path):
            update[name] = change(value)
        elif isinstance(value, Frozen):
            update[name] = _with_paths(value, change)
    return section.model_copy(update=update)


def _check_choosing(recipe: Recipe, path: Path) -> None:
    """What chooses by accuracy needs labelled data that is not trained on."""
    if recipe.data.validation is not None or recipe.data.test is not None:
        return
    sections = {name: getattr(recipe, name) for name in TRAINING}
    for name, section in sections.items():
        if section is not None and (
            section.keep == "best" or getattr(section, "accuracy_floor", None) is not None
        ):
            raise RecipeError(
                f"{path}: [{name}] chooses by accuracy, and [data] names nothing to measure it on",
                expected='validation or test = "package.module:callable" in [data]',
            )


def _check_precision(recipe: Recipe, path: Path) -> None:
    """Single layers in int16 are for int8 networks."""
    if recipe.quantize.activations == "int16" and recipe.quantize.int16_layers:
        raise RecipeError(
            f"{path}: [quantize] int16_layers is for a network of int8 values",
            expected='activations = "int8", or no int16_layers',
            found='activations = "int16": every layer is in int16',
        )


def _check_forms(recipe: Recipe, path: Path) -> None:
    """The further .onnx forms are for int8 alone."""
    forms, section = recipe.output.onnx_forms, recipe.quantize
    if (section.activations == "int16" or section.int16_layers) and forms:
        raise RecipeError(
            f"{path}: [output] onnx_forms has no form for int16 activations",
            expected="onnx_forms = [], as ONNX Runtime has no int16 convolution",
            found=", ".join(forms),
            remedy="leave onnx_forms out, or have no int16 in [quantize]",
        )


def export_recipe(
    model: dict[str, Any],
    image: dict[str, Any],
    data: dict[str, Any],
    name: str,
    quantize: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
) -> Recipe:
    """The recipe of `edgewright export`: post-training quantization, nothing trained.

    Raises:
        RecipeError: an option has the wrong form.
    """
    lists = {key: _numbers(f"--{key}", image[key]) for key in ("mean", "std")}
    document: dict[str, Any] = {"name": name, "model": model, "input": image | lists, "data": data}
    document |= {"quantize": quantize or {}, "output": output or {}}
    recipe = validate(document, Recipe, Path(DOCUMENT))
    _check_precision(recipe, Path(DOCUMENT))
    recipe.input.spec()
    return recipe


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",") if value.strip()]
    except ValueError:
        raise RecipeError(
            f"{option} holds no numbers",
            expected="numbers with commas between them, such as 0.485,0.456,0.406",
            found=text,
            remedy="give one for all channels, or one for each",
        ) from None


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
        own = error.name is not None and f"{module_name}.".startswith(f"{error.name}.")
        raise RecipeError(
            f"'{name}' cannot be imported",
            expected=f"a module {module_name} in {folder or Path.cwd()} or installed"
            if own
            else "",
            found=str(error),
            remedy="run the command where the module is, or install its package"
            if own
            else f"install the package of {error.name}, which {module_name} imports",
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
