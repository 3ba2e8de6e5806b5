"""The commented recipe and budget that `edgewright init` writes."""

from __future__ import annotations

from pathlib import Path

from exporter.build import write_bytes
from exporter.errors import RecipeError

RECIPE = """# An edgewright recipe. Sections that are left out are stages that are left out.
name = "mymodel"                  # of the files: build/mymodel/mymodel.int8.tflite, ...
seed = 0                          # of everything random
budget = "budget.toml"            # limits to check at the end; relative to this file

[model]
factory = "mymodule:make_model"   # package.module:callable that gives a torch.nn.Module
# arguments = { width = 32 }      # keyword arguments of the callable
# weights = "trained.pt"          # a state dict: .pt (loaded without running code), .safetensors

[input]
shape = "1x3x224x224"             # what the network takes: 1 x channels x height x width
dtype = "uint8"                   # the shipped file takes frames [N, H, W, C]: uint8 or int8;
                                  # or "float32" [N, C, H, W] as the network takes it
mean = [0.485, 0.456, 0.406]      # network input = (frame / 255 - mean) / std
std = [0.229, 0.224, 0.225]       # one value, or one for each channel

[output]
dtype = "int8"                    # integers with a scale (see manifest.json), or "float32"

[data]                            # callables that give torch data sets of (sample, label)
train = "mymodule:train"          # uint8 frames [H, W, C], or float32 [C, H, W]
test = "mymodule:test"            # what accuracy is measured on
# calibration = "mymodule:some"   # where ranges are measured; the training data by default
batch_size = 64
calibration_samples = 512

[train]                           # fp32 training; leave it out when [model] names weights
epochs = 10
lr = 0.1                          # the largest learning rate: warm-up, then cosine
momentum = 0.9
weight_decay = 0.0005

[prune]                           # gradual pruning by magnitude, all layers together
sparsity = 0.9                    # share of zeros at the end
epochs = 8
lr = 0.05
momentum = 0.9
weight_decay = 0.0005
ramp = 0.6                        # share of the epochs over which sparsity grows
every = 10                        # steps between two looks at the masks
exempt = []                       # layers that keep all weights, such as ["conv1"]

[share]                           # few levels, trained through
step = 0.35                       # of a layer's grid, in units of its weights' RMS
epochs = 4
lr = 0.02
momentum = 0.9
weight_decay = 0.0005

[quantize]
exact = true                      # both runtimes give the same integers on every CPU
epochs = 1                        # of quantization-aware training; 0 is post-training
lr = 0.001

[verify]
samples = 64                      # test samples that become golden inputs

[bench]
seconds = 2.0                     # the steady window for each file
threads = 1
"""

BUDGET = """# Limits of a release: edgewright check build/mymodel --budget budget.toml
# kB and MB are powers of 10, KiB and MiB powers of 2; pt is a percentage point.
[limits."*.int8.tflite"]          # a glob over artifact file names
file_bytes = "4 MB"
package_bytes = "1.5 MB"          # the download
compression_ratio = 8             # fp32 file over package, at least
accuracy_drop = "1.0 pt"          # to the fp32 file, at most
peak_memory = "120 MB"            # of the whole process, interpreter included
latency_p90 = { local = "20 ms" } # by device
certificate = "clean"
"""


def write_starter(directory: Path) -> list[Path]:
    """Write recipe.toml and budget.toml; return their paths.

    Raises:
        RecipeError: one of them is there already.
    """
    files = {directory / "recipe.toml": RECIPE, directory / "budget.toml": BUDGET}
    for path in files:
        if path.exists():
            raise RecipeError(f"{path} is there already", remedy="name another directory")
    for path, text in files.items():
        write_bytes(path, text.encode())
    return list(files)
