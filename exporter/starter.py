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
names = []                        # of the outputs, such as ["boxes", "scores"]; "output" by default
# labels = "labels.txt"           # what each class is called, one a line; goes into manifest.json
onnx_forms = []                   # more .onnx files: "qoperator" (QLinearConv and its like),
                                  # "s8s8" (int8 activations; slow on x86)

[data]                            # callables that give torch data sets of (sample, label)
train = "mymodule:train"          # uint8 frames [H, W, C], or float32 [C, H, W]
test = "mymodule:test"            # what accuracy is measured on
# validation = "mymodule:held"    # chooses while training goes on; the test data by default
# calibration = "mymodule:some"   # where ranges are measured; the training data by default
batch_size = 64                   # samples a training step
calibration_samples = 512         # how many of them are enough for the ranges
# loss = "mymodule:loss"          # of (outputs, labels): a scalar; cross entropy by default
# score = "mymodule:score"        # of (outputs, labels): [N] from 0 to 1; top-1 by default

[loop]                            # how every stretch of training is computed (docs/training.md)
# precision = "bf16"              # "fp32", "bf16" or "fp16" (GPUs); fp32, or the launcher's choice
accumulate = 1                    # parts in which a batch is computed, to need less memory
# clip_gradients = 1.0            # largest norm of all gradients together
workers = 0                       # processes that load data
evaluate_every = 1                # epochs between two looks at the accuracy; 0: only at the end
checkpoint_seconds = 60           # between two checkpoints, for --resume; 0 writes none
checkpoint_steps = 0              # steps between two checkpoints; 0 leaves it to the seconds
log_every = 50                    # steps between two rows of training.csv
tensorboard = true                # its files as well, where the package is installed

[train]                           # fp32 training; leave it out when [model] names weights
epochs = 10                       # passes over the training data; 0.5 is half a pass
lr = 0.1                          # the largest learning rate: warm-up, then cosine
optimizer = "sgd"                 # with Nesterov momentum; or "adamw"
momentum = 0.9                    # of SGD
weight_decay = 0.0005             # pulls weights towards zero
freeze_batch_norm = 0.0           # last share of the steps over which batch norm stays as it is
reestimate_batch_norm = 0         # samples that its statistics are measured on anew at the end
keep = "last"                     # or "best": the weights of the epoch with the best accuracy

# [distill]                       # what follows learns a teacher's outputs beside the labels
# temperature = 3.0               # softens the outputs of both
# alpha = 0.7                     # weight of the teacher, against that of the labels
# factory = "mymodule:teacher"    # of another teacher than the network itself behind [train]
# arguments = { width = 64 }      # keyword arguments of that callable
# weights = "teacher.pt"          # of that teacher
# cache = true                    # its outputs on disk; "auto": if samples are the same each time

# [channels]                      # whole channels go: fewer MACs, a faster network
# macs = 0.57                     # share of the multiply-accumulates that is left; or:
# parameters = 0.5                # share of the parameters that is left; or:
# target_ms = 2.0                 # milliseconds of the int8 network by the table `times`
# times = "times.json"            # measured layer times of the device; relative to this file
# importance = "magnitude"        # what goes first: by "magnitude" of the weights, by the scale of
                                  # "batch_norm", or by "taylor": gradients on training data
# scope = "global"                # where they matter least; "uniform": the same share everywhere
# multiple = 16                   # of widths; half of it in layers with fewer than 64 channels
# least = 0.25                    # share of a layer's channels that stays in any case
# exempt = []                     # layers that keep all outputs, such as ["conv1"]
# epochs = 4                      # of training the narrow network
# lr = 0.05
# momentum = 0.9
# weight_decay = 0.0005

[prune]                           # gradual pruning by magnitude, all layers together
sparsity = 0.9                    # share of zeros at the end
# until = "200 kB"                # the package; sparsity grows no more once it is as small
# accuracy_floor = "90 %"         # sparsity grows no more once accuracy falls below it
criterion = "global"              # which weights go: the smallest of the network; "uniform":
                                  # of each layer; "erk": to densities by shape; or a pattern such
                                  # as "2:4", whose sparsity is implied
epochs = 8
lr = 0.05
momentum = 0.9
weight_decay = 0.0005
reestimate_batch_norm = 2048
ramp = 0.6                        # share of the epochs over which sparsity grows
# ramps = [{ sparsity = 0.8, epochs = 2 }, { sparsity = 0.9, epochs = 3, hold = 1 }]
                                  # in place of sparsity: several ramps, one after another
every = 10                        # steps between two looks at the masks
exempt = []                       # layers that keep all weights, such as ["conv1"]
# layers = { "layer3.*" = 0.97 }  # sparsities of single layers, by name or pattern, which lose
                                  # their own smallest weights; criterion and sparsity are for
                                  # the others. As a table of its own: [prune.layers]

[share]                           # few levels, trained through
levels = "uniform"                # one step a layer; or "kmeans": a code book a layer
step = 0.35                       # of a layer's grid, in units of its weights' RMS; or "auto":
                                  # for each layer, by the bytes and the error that come of it
codes = 16                        # values of a code book beside zero
# layers = { conv1 = 0.2 }        # steps of single layers, by name or pattern; as a table of its
                                  # own: [share.layers]
epochs = 4
lr = 0.02
momentum = 0.9
weight_decay = 0.0005
freeze_batch_norm = 0.3
reestimate_batch_norm = 2048

[quantize]
exact = true                      # both runtimes give the same integers on every CPU
small_parts = true                # scales and biases no finer than their effect: in a small network
                                  # a tenth of the package, and both runtimes still agree
ptq = "minmax"                    # how ranges are found: "minmax", "percentile", "mse", "kl"; or
                                  # "best": try all of this section, measure, keep (a minute, and
                                  # NAME.ptq.json says what it chose)
bias_correction = true            # these four only without training (epochs = 0):
equalize = false                  # channels get ranges alike; a gain for depthwise networks
pair_channels = true              # channels in the order in which `exact` costs the weights least;
                                  # false: as the module has them
adaptive_rounding = false         # weights are rounded for the layer's output (AdaRound)
float_layers = []                 # stay float: such as ["features.0"], or "auto:3" for the three
                                  # whose weights cost most; slower, larger, and the two runtimes
                                  # may differ in the last bits (docs/accuracy.md)
int16_layers = []                 # their results stay int16, named likewise: errs less, slower,
                                  # and the two runtimes may differ (docs/accuracy.md)
activations = "int8"              # or "int16" between operators, with int8 weights: errs less, is
                                  # much slower, and the two runtimes differ by some LSB of int16
epochs = 1                        # of quantization-aware training; 0 is post-training
lr = 0.001                        # the largest learning rate; small, as weights are trained
optimizer = "sgd"                 # with Nesterov momentum; or "adamw"
momentum = 0.9                    # of SGD
weight_decay = 0.0                # pulls weights towards zero
keep = "last"                     # or "best": the weights of the epoch with the best accuracy

[verify]
samples = 64                      # test samples that become golden inputs
# layers = true                   # compare layer by layer, too: the report draws it

[bench]
seconds = 2.0                     # the steady window for each file
threads = 1                       # of the interpreter
"""

BUDGET = """# Limits of a release: edgewright check build/mymodel --budget budget.toml
# kB and MB are powers of 10, KiB and MiB powers of 2; pt is a percentage point. A limit on what was
# not measured fails.
[limits."*.int8.tflite"]          # a glob over artifact file names
file_bytes = "4 MB"               # the file on the device, at most
package_bytes = "1.5 MB"          # the download, at most
# delta_bytes = "200 kB"          # the update: NAME.int8.tflite.delta.ewp, at most
compression_ratio = 8             # fp32 file over package, at least
# accuracy = "75 %"               # at least
accuracy_drop = "1.0 pt"          # to the fp32 file, at most
# agreement = "98 %"              # samples on which fp32 names the same class, at least
peak_memory = "120 MB"            # of the whole process, interpreter included
# pss = "40 MB"                   # the process's own share of it, where the device tells
# arena = "2 MB"                  # what TFLite's own kernels share for activations
# load = "30 ms"                  # until the file is ready to run, on the slowest device
# latency_p50 = { local = "15 ms" }  # half of the inferences, by device
latency_p90 = { local = "20 ms" } # nine in ten inferences, by device
# latency_p99 = { local = "30 ms" }  # 99 in a hundred, by device
certificate = "clean"             # both runtimes give the same integers
# smoke = "passed"                # golden inputs, on each device that ran them; or ["pi4"]
# operators = ["CONV_2D", "ADD"]  # the only ones allowed; or the name of a list in [operators]
# operator_version = 5            # none is newer; or { CONV_2D = 3, "*" = 5 }
# float_operators = []            # the only ones that may compute in float
# max_growth = "2 %"              # of file and package; or { package_bytes = "2 %" }
# max_slowdown = { local = "5 %" }   # by device, beyond what noise explains

# max_growth needs the release before: --baseline DIR, or the JSON that --save-baseline wrote.
# max_slowdown needs both builds measured in turns as well: edgewright compare NEW OLD.

# [operators]                     # what a device can run, by a name of yours
# old-phone = ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "FULLY_CONNECTED"]
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
