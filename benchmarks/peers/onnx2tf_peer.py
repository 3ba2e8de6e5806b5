"""onnx2tf, full int8: `onnx2tf_peer.py IN.onnx INPUT SAMPLES.npy FOLDER OUT.tflite`.

SAMPLES are as the .tflite takes them, [N, H, W, C], float32. Runs in the peer's environment
(onnx2tf.txt) and imports nothing of this project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np


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
    lines = (done.stderr or done.stdout).strip().splitlines()
    sys.exit(f"Error: no int8 file (exit code {done.returncode}): {' '.join(lines[-2:])}")


if __name__ == "__main__":
    source, name, samples, folder, target = sys.argv[1:]
    main(source, name, samples, Path(folder), Path(target))
