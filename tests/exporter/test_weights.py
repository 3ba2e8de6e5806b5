"""Weights come from other people: reading them runs no code."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from exporter.errors import RecipeError
from exporter.stages.weights import load_tensors

STATE = {"weight": torch.ones(2, 3)}


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("w.pt", torch.save),
        ("w.pth", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.safetensors", save_file),
    ],
)
def test_a_state_dict_is_read(name, save, tmp_path):
    save(STATE, tmp_path / name)
    assert torch.equal(load_tensors(tmp_path / name)["weight"], STATE["weight"])


@pytest.mark.parametrize(
    "save", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data, 2))]
)
def test_code_in_a_state_dict_does_not_run(save, tmp_path):
    save({**STATE, "more": Hostile(tmp_path / "touched")}, tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_tensors(tmp_path / "w.pt")
    assert not (tmp_path / "touched").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(3, 2), tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        load_tensors(tmp_path / "w.pt")
    assert "state dict" in caught.value.expected


def test_no_advice_to_run_code_is_given(tmp_path):
    (tmp_path / "fit.py").write_text("import torch\n")
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        load_tensors(tmp_path / "fit.py")
    assert caught.value.found == "UnpicklingError: Weights only load failed"


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="no state dict"):
        load_tensors(tmp_path / "w.pt")
