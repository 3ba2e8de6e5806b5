"""Labels that fit the network's outputs, and those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.errors import RecipeError
from exporter.train import check_labels, cross_entropy, evaluate

OUTPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 1, 2, 3, 0, 1])


def with_one(label):
    return torch.where(torch.arange(6) == 4, label, CLASSES)


MISFITS = {
    "too large": (with_one(4), "the label 4"),
    "below zero": (with_one(-1), "the label -1"),
    "one hot": (nn.functional.one_hot(CLASSES, 4), r"labels \[6, 4\]"),
    "floats": (CLASSES.float(), "float32 numbers"),
}


@pytest.mark.parametrize(("labels", "found"), MISFITS.values(), ids=MISFITS.keys())
@pytest.mark.parametrize(
    "use",
    [
        check_labels,
        cross_entropy,
        lambda outputs, labels: evaluate(nn.Identity(), [(outputs, labels)], lambda x: x),
    ],
    ids=["check", "loss", "accuracy"],
)
def test_labels_that_do_not_fit_are_refused(use, labels, found):
    with pytest.raises(RecipeError, match=f"from 0 to 3(.|\n)*{found}") as caught:
        use(OUTPUTS, labels)
    assert caught.value.exit_code == 2
    assert caught.value.remedy


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_classes_of_any_integer_type_train(dtype):
    expected = nn.functional.cross_entropy(OUTPUTS, CLASSES)
    assert cross_entropy(OUTPUTS, CLASSES.to(dtype)) == expected


def test_what_torch_trains_on_besides_is_left_to_it():
    ignored, shares = with_one(-100), torch.softmax(OUTPUTS.flip(1), 1)
    for targets in (ignored, shares):
        assert cross_entropy(OUTPUTS, targets) == nn.functional.cross_entropy(OUTPUTS, targets)


@pytest.mark.parametrize(
    ("outputs", "found"), [((OUTPUTS, OUTPUTS), "tuple"), (OUTPUTS[:, :, None], r"\[6, 4, 1\]")]
)
def test_accuracy_is_measured_of_one_output_with_classes(outputs, found):
    with pytest.raises(RecipeError, match=rf"one output \[N, classes\](.|\n)*{found}"):
        evaluate(nn.Identity(), [(OUTPUTS, CLASSES)], lambda inputs: outputs)


def test_a_recipe_trains_one_output():
    with pytest.raises(RecipeError, match=r"one output(.|\n)*tuple"):
        cross_entropy((OUTPUTS, OUTPUTS), CLASSES)
