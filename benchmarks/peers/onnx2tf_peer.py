"""onnx2tf, full int8: `onnx2tf_peer.py IN.onnx INPUT SAMPLES.npy FOLDER OUT.tflite`.

SAMPLES are as the .tflite takes them, [N, H, W, C], float32. Runs in the peer's environment
(onnx2tf.txt) and imports nothing of this project.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
CAUSE = re.compile(r"[\w.]*(Error|Exception|ERROR)\b")


def main(source: str, name: str, samples: str, folder: Path, target: Path) -> None:
    """Convert with integer quantization; inputs and outputs stay float, as is its default."""
    channels = np.load(samples, mmap_mode="r").shape[-1]
    mean, std = ("[[[[" + ",".join([value] * channels) + "]]]]" for value in ("0.0", "1.0"))
    argv = [sys.executable, "-m", "onnx2tf", "-i", source, "-o", str(folder), "-oiqt", "-n"]
    argv += ["-b", "1", "-cind", name, samples, mean, std]
    # Its commands' helpers are found on the PATH. The default way to a .tflite comes first, then
    # the one through TensorFlow.
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for more in ([], ["-tb", "tf_converter"]):
        done = subprocess.run(
            argv + more,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PATH": paths},
        )
        found = sorted(folder.rglob("*_integer_quant.tflite"), key=lambda path: len(path.name))
        if done.returncode == 0 and found:
            shutil.copy(found[0], target)
            return
    said = reason(f"{done.stdout}\n{done.stderr}")
    sys.exit(f"Error: no int8 file (exit code {done.returncode}): {said}")


def reason(log: str) -> str:
    """What a log of many lines gives as the cause: an exception, and the operator it stopped at."""
    lines = [COLOURS.sub("", line).strip() for line in log.splitlines()]
    causes = [line for line in lines if CAUSE.match(line)]
    operators = [line for line in lines if "onnx_op_name" in line or "onnx_op_type" in line]
    named = [*causes[-1:], *dict.fromkeys(operators[-2:])] or [line for line in lines if line][-2:]
    return " ".join(named)


if __name__ == "__main__":
    source, name, samples, folder, target = sys.argv[1:]
    main(source, name, samples, Path(folder), Path(target))
