"""Weights in files beside the model, taken in: only from the model's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import ModelError

MAX_BYTES = 2**31 - 1


def load_external(proto: Any, path: Path) -> None:
    """Bring every constant of a model into it, in place; nothing is read that is too large.

    Raises:
        ModelError: a file outside the model's folder, missing, or shorter than the model says.
    """
    from onnx import TensorProto

    total = 0
    for tensor in _tensors(proto.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        total += _bytes_of(tensor)
        if total > MAX_BYTES:
            raise ModelError(
                f"the constants of {path} are too large",
                expected=f"up to {MAX_BYTES} bytes in all",
                found=f"more at '{tensor.name}'",
                remedy="split the model",
            )
        tensor.raw_data = _read(tensor, path)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: Any) -> list[Any]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                found += _tensors(inner)
    return found


def _read(tensor: Any, path: Path) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.resolve().parent
    location = entries.get("location", "")
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder) or not file.is_file():
        inside = bool(location) and file.is_relative_to(folder)
        raise ModelError(
            f"the values of constant '{tensor.name}' are in another file",
            expected=f"a file in {folder}",
            found=f"'{location}', which {'is missing' if inside else 'lies outside of it'}",
            remedy="put the file beside the model, or save the model as one file",
        )
    needed = _bytes_of(tensor)
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(needed)))
    except ValueError:
        raise ModelError(f"the place of constant '{tensor.name}' is no number") from None
    size = file.stat().st_size
    if offset < 0 or length != needed or offset + length > size:
        raise ModelError(
            f"'{location}' does not hold constant '{tensor.name}'",
            expected=f"{needed} bytes at {offset}",
            found=f"{length} announced, {size} in the file",
            remedy="get both files again: they do not belong together",
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        raw: bytes = stream.read(length)
    return raw


def _bytes_of(tensor: Any) -> int:
    from onnx import helper

    try:
        itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except KeyError:
        raise ModelError(
            f"constant '{tensor.name}' has the unknown data type {tensor.data_type}"
        ) from None
    count = 1
    for size in tensor.dims:
        count *= max(0, int(size))
    return count * int(itemsize)
