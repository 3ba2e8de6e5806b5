"""The training stages of a recipe, without what comes behind them; as a program, many times over.

    python stages_only.py '[["FOLDER/OUT", resume, draws until it is killed or 0], ...]'

The recipe is FOLDER/recipe.toml.

Each run is a process of its own, forked from one that has imported everything. Prints how they
ended: 0, or minus the signal. Under a launcher it is one run, given the same way.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

MODULE = """
import os, random, signal
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

draws = 0

def make(dropout=0.2):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

def evaluated(dropout):
    return make(dropout).eval()

def frames(seed, count=96):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 120, (count, 16, 16, 1), generator=generator)
    labels = torch.randint(0, 4, (count,), generator=generator)
    for frame, label in zip(frames, labels.tolist()):
        frame[: 4 + 4 * label, : 4 + 4 * label] += 120
    return frames.to(torch.uint8), labels

class Shaken(Dataset):
    # Every draw takes from all three generators.
    def __init__(self, shaken=True):
        self.frames, self.labels = frames(0)
        self.shaken = shaken
    def __len__(self):
        return len(self.labels)
    def __getitem__(self, index):
        global draws
        draws += 1
        if draws == int(os.environ.get("KILL_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        frame = self.frames[index]
        if self.shaken:
            shift = int(torch.randint(0, 3, ())) + np.random.randint(2) + random.randrange(2)
            frame = torch.roll(frame, shift, 0)
        return frame, self.labels[index]

def data():
    return Shaken()

def still():
    return Shaken(False)

def test():
    return TensorDataset(*frames(1, 48))
"""
RECIPE = """
name = "tiny"
[model]
factory = "stages_only_module:make"
arguments = { dropout = DROPOUT }
[input]
shape = "1x1x16x16"
[data]
train = "stages_only_module:DATA"
test = "stages_only_module:test"
batch_size = 16
[loop]
checkpoint_steps = 2
log_every = 3
LOOP
[train]
epochs = 3
lr = 0.1
[prune]
sparsity = 0.7
epochs = 2
lr = 0.05
every = 2
reestimate_batch_norm = 32
keep = "best"
[share]
epochs = 1.5
lr = 0.02
freeze_batch_norm = 0.4
"""


def write(folder: Path, *, data: str = "data", dropout: float = 0.2, loop: str = "") -> Path:
    """The recipe and its module in a folder; gives the recipe."""
    (folder / "stages_only_module.py").write_text(MODULE)
    path = folder / "recipe.toml"
    text = RECIPE.replace("DATA", data).replace("DROPOUT", str(dropout)).replace("LOOP", loop)
    path.write_text(text)
    return path


def run_stages(directory: Path, *, resume: bool) -> None:
    """The stages that train, but for QAT."""
    from exporter.pipeline import run_recipe

    run_recipe(directory.parent / "recipe.toml", directory, resume=resume, until="share")


def main() -> None:
    import accelerate  # noqa: F401
    import torch

    import exporter.pipeline  # noqa: F401

    torch.set_num_threads(1)
    runs = json.loads(sys.argv[1])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        run_stages(Path(runs[0][0]), resume=runs[0][1])
        return
    ends = []
    for directory, resume, kill_at in runs:
        child = os.fork()
        if child == 0:
            os.environ["KILL_AT"] = str(kill_at)
            code = 0
            try:
                run_stages(Path(directory), resume=resume)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stderr.flush()
            os._exit(code)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
