"""Run every FOLDER/*.tflite on the inputs beside it: `tflite_peer.py MODULE FOLDER`.

MODULE is `tensorflow.lite` or `tflite_runtime.interpreter`. Reads NAME.npz (arrays "0", "1", ...),
writes NAME.MODULE.npz, or NAME.MODULE.txt with what the interpreter said. Runs in the
environment of that interpreter and imports nothing of this project.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np


def main(module: str, folder: Path) -> None:
    """Run the files in turn; one that fails does not stop the others."""
    interpreters = importlib.import_module(module)
    for path in sorted(folder.glob("*.tflite")):
        target = folder / f"{path.stem}.{module}"
        try:
            interpreter = interpreters.Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            with np.load(path.with_suffix(".npz")) as arrays:
                for index, detail in enumerate(interpreter.get_input_details()):
                    interpreter.set_tensor(detail["index"], arrays[str(index)])
            interpreter.invoke()
            details = enumerate(interpreter.get_output_details())
            outputs = {str(i): interpreter.get_tensor(d["index"]) for i, d in details}
            np.savez(f"{target}.npz", **outputs)
        except (RuntimeError, ValueError) as error:
            Path(f"{target}.txt").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
