"""How keys and values of results read in a table: the unit is in the key's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE
from exporter.gate.verdict import NOTHING

Form = Callable[[float], str]

_NUMBER: Final[Form] = "{:.4g}".format
_FORMS: Final[tuple[tuple[re.Pattern[str], Form], ...]] = (
    (re.compile(r"(.*_)?(accuracy|sparsity|agreement|share)"), SHARE.format),
    (re.compile(r"(.*_)?ratio"), RATIO.format),
    (re.compile(r".*_bytes"), BYTES.format),
    (re.compile(r".*_mb"), lambda value: BYTES.format(value * 1e6)),
    (re.compile(r".*_pt"), POINTS.format),
    (re.compile(r".*_ms(_p\d+)?"), MILLISECONDS.format),
    (re.compile(r".*_s"), lambda value: MILLISECONDS.format(value * 1e3)),
)
_UNIT: Final = re.compile(r"_(bytes|mb|pt|ms|s)(?=_p\d+$|$)")
_HEADINGS: Final = {
    "accuracy_drop_pt": "drop",
    "stderr_pt": "standard error",
    "latency_ms_p50": "p50",
    "latency_ms_p90": "p90",
    "latency_ms_p99": "p99",
    "peak_rss_mb": "peak memory",
    "cpu_s": "CPU time",
    "total_cpu_s": "CPU time in all",
    "kl": "KL",
    "sqnr_db": "SQNR, dB",
    "tflite_kl": "TFLite KL",
    "tflite_sqnr_db": "TFLite SQNR, dB",
    "source_mb": "source's size",
    "source_drop_pt": "source's drop",
}
_SPELLED: Final = {
    "c": "C",
    "cpu": "CPU",
    "litert": "LiteRT",
    "lsb": "LSB",
    "onnx": "ONNX",
    "tensorflow": "TensorFlow",
    "tflite": "TFLite",
}


def heading(key: str) -> str:
    """A key as the heading of a column: without its unit, which the values carry."""
    words = _UNIT.sub("", key).split("_")
    return _HEADINGS.get(key) or " ".join(_SPELLED.get(word, word) for word in words)


def shown(key: str, value: str | float | bool | None) -> str:
    """A value with its unit; a dash for one that was not measured."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    for pattern, form in _FORMS:
        if pattern.fullmatch(key):
            return form(value)
    return str(value) if isinstance(value, int) else _NUMBER(value)
