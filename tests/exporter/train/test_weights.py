"""Files that hold no weights for the model: each is refused with what to do about it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.errors import RecipeError
from exporter.stages.weights import load_weights


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


class Wrapped(nn.Module):
    """A model whose own names start with `module.`."""

    def __init__(self):
        super().__init__()
        self.module = network()


def renamed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}


def test_a_state_dict_is_taken_as_it_is_or_inside_a_checkpoint(tmp_path):
    state = network().state_dict()
    for content in (state, {"epoch": 3, "state_dict": state}):
        torch.save(content, tmp_path / "net.pt")
        module = network()
        load_weights(module, tmp_path / "net.pt")
        assert torch.equal(module[0].weight, state["0.weight"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (network(), r"found: .*torch\.nn\.modules\.container\.Sequential(.|\n)*state_dict\(\)"),
        (renamed("module."), r"DistributedDataParallel(.|\n)*model\.module\.state_dict\(\)"),
        (renamed("_orig_mod."), r"torch\.compile(.|\n)*model\._orig_mod\.state_dict\(\)"),
        (renamed("net."), "the arguments that the weights were trained with"),
        ({"epoch": 3, "model": network().state_dict()}, r"'epoch', 'model'(.|\n)*\['model'\]"),
        ([1, 2], r"found: +list(.|\n)*model\.state_dict\(\)"),
    ],
    ids=["whole module", "ddp", "compiled", "other names", "checkpoint", "list"],
)
def test_what_is_no_state_dict_of_the_model_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(RecipeError, match=words) as caught:
        load_weights(network(), tmp_path / "net.pt")
    assert "\x1b" not in str(caught.value)
    assert caught.value.remedy


def test_a_prefix_that_the_model_has_itself_is_not_blamed(tmp_path):
    torch.save(renamed("module.more."), tmp_path / "net.pt")
    with pytest.raises(RecipeError, match="arguments that the weights"):
        load_weights(Wrapped(), tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "cannot be read"), (b"hello world", "cannot be read")],
)
def test_missing_and_damaged_files(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=words) as caught:
        load_weights(network(), tmp_path / name)
    assert caught.value.remedy
