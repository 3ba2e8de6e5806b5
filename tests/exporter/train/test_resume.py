"""A build that is killed inside its training ends with the very weights of one that is not."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stages_only
from safetensors.torch import load_file

STAGES = ("fp32", "pruned", "shared")
SCRIPT = Path(stages_only.__file__)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[3]), **more}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that nothing stops, and one that is killed in each stage: before and behind an epoch's
    end, twice at the same place, and in the first steps, before any checkpoint."""
    folder = tmp_path_factory.mktemp("resume")
    for name in ("shaken", "still"):
        (folder / name).mkdir()
    stages_only.write(folder / "shaken")
    still = {"data": "still", "dropout": 0.0, "loop": "checkpoint_seconds = 0"}
    stages_only.write(folder / "still", **still)
    # 96 samples an epoch, and one that is looked at when a stage starts. After a resume the draws
    # are counted anew.
    runs = [
        ["shaken/whole", False, 0],
        ["shaken/killed", True, 20],  # train, step 2: there is no checkpoint yet
        ["shaken/killed", True, 130],  # train, epoch 2
        ["shaken/killed", True, 130],
        ["shaken/killed", True, 125],  # prune
        ["shaken/killed", True, 110],
        ["shaken/killed", True, 75],  # share
        ["shaken/killed", True, 0],
        ["shaken/other", True, 60],  # left as it is
        ["still/one", False, 0],  # for two processes to be compared with
    ]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(runs)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "shaken", json.loads(done.stdout), done.stderr


def test_every_kill_was_one(killed):
    _, ends, errors = killed
    assert ends == [0, *[-9] * 6, 0, -9, 0], errors


@pytest.mark.parametrize("stage", STAGES)
def test_the_weights_are_bit_identical(killed, stage):
    folder, _, _ = killed
    whole, other = (folder / run / "stages" / f"{stage}.safetensors" for run in ("whole", "killed"))
    assert whole.read_bytes() == other.read_bytes()


def test_the_log_is_as_if_nothing_had_happened(killed):
    folder, _, _ = killed
    whole, other = ((folder / run / "training.csv").read_text() for run in ("whole", "killed"))
    assert whole == other
    rows = list(csv.DictReader(whole.splitlines()))
    assert [row["step"] for row in rows if row["stage"] == "train"] == [
        "3",
        "6",
        "9",
        "12",
        "15",
        "18",
    ]
    assert [row["accuracy"] != "" for row in rows if row["stage"] == "share"] == [False, True, True]


def test_nothing_but_the_stages_is_left(killed):
    folder, _, _ = killed
    left = {path.name for path in (folder / "killed" / "stages").iterdir()}
    best = {f"{stage}.best.safetensors" for stage in ("train", "prune", "share")}
    assert left - best == {f"{stage}.safetensors" for stage in STAGES}
    assert (folder / "other" / "stages" / "train.checkpoint.safetensors").is_file()


def test_training_did_train(killed):
    folder, _, _ = killed
    shared = load_file(folder / "whole" / "stages" / "shared.safetensors")
    rows = list(csv.DictReader((folder / "whole" / "training.csv").read_text().splitlines()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert 0.69 < float(rows[-1]["sparsity"]) < 0.8
    assert any(name.startswith("mask.") for name in shared)


def test_two_processes_train_as_one_does(killed):
    folder = killed[0].parent / "still"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    argv = [*launcher, "--nproc-per-node", "2", str(SCRIPT), json.dumps([["still/two", False, 0]])]
    done = subprocess.run(
        argv, cwd=folder.parent, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for stage in STAGES:
        one, two = (
            load_file(folder / run / "stages" / f"{stage}.safetensors") for run in ("one", "two")
        )
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            assert (tensor.double() - two[name].double()).abs().max() < 1e-4, (stage, name)
    logs = ((folder / run / "training.csv").read_text().splitlines() for run in ("one", "two"))
    for ours, theirs in zip(*map(csv.DictReader, logs), strict=True):
        assert float(theirs.pop("loss")) == pytest.approx(float(ours.pop("loss")), rel=1e-4)
        assert ours == theirs
