"""verify --layers: error by layer, and each operator alone."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny import edgewright, export_network

from exporter.trained import load_trained
from exporter.verify.layers import layer_errors, worst_first


@pytest.fixture(scope="module")
def rows(tiny_build):
    folder, _ = tiny_build
    return layer_errors(folder / "build" / "tiny", samples=8)


def test_every_operator_alone_is_the_reference(rows):
    assert len(rows) >= 5
    assert all(row.tflite is not None and row.tflite.differing == 0 for row in rows)
    inside = [row.onnx for row in rows if row.onnx is not None]
    assert inside
    assert all(difference.differing == 0 for difference in inside)


MOVED = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.expand = nn.Conv2d(16, 48, 1)
        self.depthwise = nn.Conv2d(48, 48, 3, 1, 1, groups=48)
        self.project = nn.Conv2d(48, 16, 1)
        self.head = nn.Linear(16, 5)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    parameter.copy_(torch.randn(parameter.shape) ** 3 * 0.1)
            self.expand.weight *= torch.logspace(-1, 0.5, 48).reshape(-1, 1, 1, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = x + self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))
        return self.head(x.mean((2, 3)))
"""


def test_channels_that_were_scaled_and_moved_are_compared_with_their_own(tmp_path):
    export_network(tmp_path, MOVED, "--equalize")
    build = tmp_path / "build"
    (path,) = build.glob("*.trained.safetensors")
    trained = load_trained(path)
    moved = {key.partition(".")[0] for key in trained if key.startswith("channel_")}
    assert moved == {"channel_order", "channel_factors"}
    errors = [row.sqnr_db for row in layer_errors(build, samples=8) if row.sqnr_db is not None]
    assert len(errors) >= 5
    assert min(errors) > 20.0


def test_the_worst_layer_comes_first(rows):
    ordered = worst_first(rows)
    errors = [row.sqnr_db for row in ordered if row.sqnr_db is not None]
    assert len(errors) >= 4
    assert errors == sorted(errors)
    assert all(row.sqnr_db is None for row in ordered[len(errors) :])


def test_the_command_prints_them_and_the_certificate_takes_them_up(tiny_build, tmp_path):
    folder, _ = tiny_build
    shutil.copytree(folder / "build" / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "certificate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": []}))
    done = edgewright("verify", "tiny", "--layers", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = {row["kind"] for row in json.loads(done.stdout)}
    assert {"Conv+Relu", "Gemm", "ReduceMean"} <= kinds
    certificate = json.loads(path.read_text())
    assert {row["differing"] for row in certificate["layers"]} == {0}


def test_the_certificate_has_them_in_the_model_s_order(tiny_build, rows):
    """As the recipe asks: what the report draws needs no command of its own."""
    folder, _ = tiny_build
    certificate = json.loads((folder / "build" / "tiny" / "certificate.json").read_text())
    names = [row["layer"] for row in certificate["layers"]]
    assert names == [row.layer for row in rows]
    assert names != [row.layer for row in worst_first(rows)]
    contents = json.loads((folder / "build" / "tiny" / "contents.json").read_text())
    listed = {layer["name"] for file in contents["files"] for layer in file["layers"]}
    assert listed == {row.weights for row in rows if row.weights}


def test_emulated_cpus_and_layers_go_into_one_certificate(tiny_build, tmp_path, monkeypatch):
    """What emulation finds stands for itself here; tests of CPUs have the real one."""
    from exporter.build import Certificate, CpuComparison, load_json
    from exporter.commands.release import verify

    build = shutil.copytree(tiny_build[0] / "build" / "tiny", tmp_path / "tiny")
    cpu = CpuComparison(
        cpu="Nehalem", features="", artifact="tiny", runtime="ONNX Runtime", samples=1
    )
    found = load_json(build / "certificate.json", Certificate)
    found = found.model_copy(update={"layers": (), "cpus": (cpu,)})
    monkeypatch.setattr("exporter.verify.cpus.certify_on_cpus", lambda *_, **__: found)
    verify(build, cpus=True, layers=True)
    kept = load_json(build / "certificate.json", Certificate)
    assert kept.cpus == (cpu,)
    assert len(kept.layers) >= 5
