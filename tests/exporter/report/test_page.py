from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import exporter.report
from exporter.errors import BuildError, MissingRuntimeError
from exporter.gate import Line, Verdict
from exporter.gate.evidence import Evidence
from exporter.gate.units import TIMES
from exporter.gate.verdict import NOTHING
from exporter.report import LayerRow, write_report
from exporter.report.svg import telling
from exporter.report.views import timed_points

MOST_BYTES = 3_000_000
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x onerror=a>&\"'$x_$ {{7*7}}\x1b"


class Elements(HTMLParser):
    """Every element's name, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        # Cells stand apart on the page, though nothing stands between them in the file.
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""

    def handle_data(self, data):
        self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def written(build, **more) -> str:
    return write_report(build, **more).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(whole_page):
    return Elements(whole_page)


def test_it_is_written_into_the_build(build):
    assert write_report(build) == build / "report.html"
    assert not list(build.glob("*.part"))


def test_it_is_one_file_that_asks_for_nothing(page, whole_page):
    text = whole_page
    assert len(text.encode()) < MOST_BYTES
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    links = [value for _, name, value in page.attributes if name in ("href", "src")]
    assert all(value.startswith("#") for value in links)
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_ids_are_told_apart_and_found(page):
    ids = [value for _, name, value in page.attributes if name == "id"]
    links = [value[1:] for _, name, value in page.attributes if name == "href"]
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


@pytest.mark.parametrize(
    "text",
    [
        "digits does not pass: 1 of 4 checks failed",
        f"fp32 · ONNX Runtime 98.30 % 0.00 pt 313 kB {NOTHING} 1.00{TIMES} 928 µs 966 µs 38.7 MB",
        f"int8 · TFLite 97.90 % 0.40 pt 84.2 kB 14.9 kB 20.8{TIMES} 313 µs 326 µs 38.1 MB",
        f"fp32 98.30 % 0.00 % 304 kB {NOTHING} 928 µs",
        f"pruned 98.10 % 90.00 % 41.3 kB {NOTHING} as fp32",
        f"shared 97.70 % 90.00 % 13.8 kB {NOTHING} as fp32",
        "QAT 98.00 % 90.00 % 13.8 kB 313 µs 383 µs",
        "no runtime skips zeros or equal weights",
        "int8 file 97.90 % 86.81 % 84.2 kB 313 µs 383 µs",
        "packed 97.90 % 86.81 % 14.9 kB 313 µs 383 µs",
        "Unstructured zeros shrink the download, not int8 inference time",
        "Nothing was measured on a physical phone or Raspberry Pi.",
        "an int8 file holds one byte a weight",
        "✗ digits.int8.tflite file_bytes ≤ 84.215 kB 84.216 kB 1 B (0.0012 %) over",
        "TFLite's builtin kernels, which a device without XNNPACK runs",
        "digits.int8.tflite LiteRT, builtin kernels dd4258429bcdc9a9 2 560 212 2 no",
        "the pair rule holds 5 dense layers",
        "2025-03-14T09:26:53Z",
        "ai-edge-litert 2.3.0, edgewright 0.1.0",
        "governor performance",
        "features.5.conv CONV_2D 294 912 69.44 % 12 295 kB 1.20 44.2 kB",
        f"uint8 NHWC N{TIMES}28{TIMES}28{TIMES}1",
    ],
)
def test_it_says(page, text):
    assert text in page.words


def test_it_has_its_seven_pictures_with_a_name_each(page):
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == page.tags.count("svg") == 7
    assert all(labels)


def test_pictures_take_the_page_s_colours_and_typeface(whole_page):
    pictures = "".join(re.findall(r"<svg.*?</svg>", whole_page, re.DOTALL))
    assert "var(--tflite)" in pictures
    assert not re.search(r"#[0-9a-f]{6}\b", pictures)
    assert "font-family" not in pictures
    assert "DejaVu" not in whole_page


def test_the_same_build_gives_the_same_page(build, verdict, layers, whole_page):
    assert written(build, verdict=verdict, layers=layers) == whole_page


@pytest.mark.parametrize(
    ("removed", "sentence", "pictures"),
    [
        ("accuracy.json", "No accuracy was measured. edgewright run RECIPE", 2),
        ("bench.json", "No time or memory was measured. edgewright bench FILE", 1),
        ("certificate.json", "Nothing was proven about these files. edgewright verify DIR", 4),
    ],
)
def test_what_is_missing_is_left_out_with_the_command_for_it(build, removed, sentence, pictures):
    (build / removed).unlink()
    page = Elements(written(build))
    assert sentence in page.words
    assert page.tags.count("svg") == pictures


def test_without_verdict_and_layers_it_says_how_to_get_them(build):
    words = Elements(written(build)).words
    assert "Not checked against a budget. edgewright check DIR --budget budget.toml" in words
    assert "edgewright inspect FILE lists them" in words


def test_with_a_manifest_alone_it_is_still_a_page(build):
    for name in ("accuracy.json", "bench.json", "certificate.json"):
        (build / name).unlink()
    page = Elements(written(build))
    assert page.tags.count("svg") == 0
    assert "Nothing was timed" in page.words


def test_a_device_is_named(build, builds):
    def change(document):
        document["rows"][1]["device"] = "pi4"

    builds.edit_json(build / "bench.json", change)
    words = Elements(written(build)).words
    assert "Times and memory come from local, pi4." in words
    assert "unless one of these is one" in words
    assert "Side by side" in words
    assert words.index("local") < words.index("pi4")


def test_the_page_says_where_a_file_for_arm_is_slow(build, builds):
    manifest = json.loads((build / "manifest.json").read_text())
    onnx = next(one for one in manifest["artifacts"] if one["path"].endswith("int8.onnx"))
    ort = {**onnx, "name": onnx["name"].replace(".onnx", ".ort"), "format": "ort"}
    builds.edit_json(build / "manifest.json", lambda document: document["artifacts"].append(ort))

    def measured_on(machine):
        def change(document):
            row = {**document["rows"][-1], "artifact": ort["name"], "device": machine}
            document["rows"].append(row)
            document["device_state"][machine] = {"machine": machine}

        builds.edit_json(build / "bench.json", change)
        return Elements(written(build)).words

    assert "is the file for Arm" not in measured_on("aarch64")
    assert "int8 · ONNX Runtime (.ort) is the file for Arm" in measured_on("x86_64")


def test_a_time_that_was_not_steady_is_marked(build, builds):
    def change(document):
        document["rows"][1].update(valid=False, reasons=["throttled while it ran"])

    assert "was not steady" not in Elements(written(build)).words
    builds.edit_json(build / "bench.json", change)
    words = Elements(written(build)).words
    assert "~313 µs" in words
    assert "marks a time whose measurement was not steady" in words
    assert "int8 · TFLite was not steady: throttled while it ran" in words


def test_what_made_several_times_unsteady_is_said_once(build, builds):
    def change(document):
        for row in document["rows"]:
            row.update(valid=False, reasons=["other work"])

    builds.edit_json(build / "bench.json", change)
    words = Elements(written(build)).words
    files = "fp32 · ONNX Runtime, int8 · TFLite, int8 · ONNX Runtime"
    assert words.count("not steady: other work") == 1
    assert f"{files} were not steady: other work" in words


def test_a_state_that_changed_is_told_before_and_after(build, builds):
    def change(document):
        document["device_state"] = {
            "local": {
                "temperature_c": 48.25,
                "memory_total_bytes": 4 * 10**9,
                "governors": "unknown",
            }
        }
        document["device_state_after"] = {"local": {"temperature_c": 71.0}}

    builds.edit_json(build / "bench.json", change)
    words = Elements(written(build)).words
    assert "temperature c 48.25, then 71" in words
    assert "memory total 4.00 GB" in words
    assert "unknown governors: the device does not tell" in words


def test_a_certificate_that_is_not_clean_says_so(build, builds):
    def change(document):
        document.update(verdict="differs", islands=["float island 3"])

    builds.edit_json(build / "certificate.json", change)
    words = Elements(written(build)).words
    assert "they differ" in words
    assert "bit-identical" not in words
    assert "float island 3" in words


def test_hostile_names_stay_text(build, builds, layers):
    def rename(document):
        document.update(name=HOSTILE, source=HOSTILE, versions={HOSTILE: HOSTILE})

    def remark(document):
        document["checks"][0].update(name=HOSTILE, detail=HOSTILE)
        document.update(islands=[HOSTILE])

    def restage(document):
        document["stages"][0]["stage"] = HOSTILE
        document["dataset"] = HOSTILE

    def redevice(document):
        document["device_state"] = {HOSTILE: {HOSTILE: HOSTILE}}
        for row in document["rows"]:
            row["device"] = HOSTILE

    builds.edit_json(build / "manifest.json", rename)
    builds.edit_json(build / "certificate.json", remark)
    builds.edit_json(build / "accuracy.json", restage)
    builds.edit_json(build / "bench.json", redevice)
    line = Line(
        artifact=HOSTILE, limit=HOSTILE, passed=False, reason=HOSTILE, remedy=f"`{HOSTILE}`"
    )
    layers = [LayerRow(HOSTILE, HOSTILE, 10, 5, 3, 10, 1.0), *layers]
    text = written(build, verdict=Verdict(name=HOSTILE, lines=(line,)), layers=layers)
    page = Elements(text)
    assert not {"script", "img"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", page.text)


@pytest.mark.parametrize(
    "name",
    ["a" * 300, "conv $\\frac{$", "層/畳み込み", 'id="x" href="y" #010203', "-->", ""],
)
def test_any_name_can_be_drawn(build, name):
    page = Elements(written(build, layers=[LayerRow(name, "CONV_2D", 9, 0, 9, 9, 3.1)]))
    assert page.tags.count("svg") == 6
    assert name in page.text


def test_a_name_that_looks_like_a_colour_stays_as_it_is(build):
    text = written(build, layers=[LayerRow("conv#010203", "CONV_2D", 9, 0, 9, 9, 3.1)])
    assert text.count("conv#010203") == 3


def test_a_large_network_gives_a_page_that_a_browser_bears(build, builds):
    layers = [LayerRow(f"stage.{i}", "CONV_2D", 99, 9, 9, i, 1.0) for i in range(5000)]

    def change(document):
        row = document["rows"][1]
        row["samples_ms"] *= 20
        document["rows"] += [{**row, "threads": 1 + i} for i in range(30)]

    builds.edit_json(build / "bench.json", change)
    text = written(build, layers=layers)
    assert len(text.encode()) < MOST_BYTES
    words = Elements(text).words
    assert "The 40 heaviest of 5000 layers are drawn." in words
    assert "The 500 heaviest are listed." in words
    assert "21 more measurements are not drawn." in words
    assert "stage.4500" in words
    assert "stage.4499" not in words


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_ms": []},
        {"samples_ms": [0.5], "p50_ms": 0.5, "p90_ms": 0.5, "p99_ms": 0.5},
        {"samples_ms": [float("nan"), 0.4], "p99_ms": float("nan")},
        {"samples_ms": [0.0, 0.0], "p50_ms": 0.0, "p90_ms": 0.0, "p99_ms": 0.0},
        {"peak_load_bytes": 0, "peak_inference_bytes": 0},
    ],
)
def test_odd_measurements_can_be_drawn(build, builds, changes):
    def change(document):
        for row in document["rows"]:
            row.update(changes)

    builds.edit_json(build / "bench.json", change)
    assert "digits" in written(build)


def test_odd_stages_can_be_drawn(build, builds):
    def change(document):
        document["rows"] = []
        stage = document["stages"][0]
        document["stages"] = [{**stage, "weight_bytes": size} for size in (0, 70, 70, 70)]

    builds.edit_json(build / "accuracy.json", change)
    assert "Accuracy against size" in written(build)


def test_a_build_that_never_trained_has_no_stages(build, builds):
    builds.edit_json(build / "accuracy.json", lambda document: document.update(stages=[]))
    assert "Stage by stage" not in Elements(written(build)).words


def test_stages_without_a_file_stand_at_the_time_of_the_fp32_file(build):
    points = {point.name: point for point in timed_points(Evidence(build))}
    fp32 = points["fp32 · ONNX Runtime"]
    assert {name for name, point in points.items() if point.kind == "stage"} == {"pruned", "shared"}
    assert points["pruned"].x == points["shared"].x == fp32.x
    assert (points["pruned"].accuracy, points["shared"].accuracy) == (0.981, 0.977)


def test_behind_channel_pruning_no_stage_is_said_to_run_as_fp32(build, builds):
    def change(document):
        fp32 = document["stages"][0]
        document["stages"].insert(1, {**fp32, "stage": "narrowed"})

    builds.edit_json(build / "accuracy.json", change)
    words = Elements(written(build)).words
    assert f"pruned 98.10 % 90.00 % 41.3 kB {NOTHING} {NOTHING}" in words
    assert "as fp32" not in words
    assert not [one for one in timed_points(Evidence(build)) if one.kind == "stage"]


def test_without_a_time_of_fp32_no_stage_has_one(build, builds):
    def change(document):
        document["rows"] = [row for row in document["rows"] if "fp32" not in row["artifact"]]

    builds.edit_json(build / "bench.json", change)
    assert "as fp32 " not in Elements(written(build)).words


def test_a_missing_manifest_is_bad_input(tmp_path):
    with pytest.raises(BuildError, match=r"manifest\.json is missing"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_library_that_is_missing_is_named(build, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingRuntimeError, match=r"\.\[export\]"):
        write_report(build)


def test_public_names():
    assert exporter.report.__all__ == [
        "LayerRow",
        "SummaryRow",
        "summary_rows",
        "summary_table",
        "write_report",
    ]


@pytest.mark.parametrize("module", ["exporter.report", "exporter.report.summary"])
def test_nothing_heavy_is_imported_before_a_page_is_written(module):
    heavy = ("torch", "tensorflow", "onnx", "matplotlib", "jinja2", "numpy")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parity_by_layer_is_drawn_where_the_certificate_has_it(build, builds):
    def change(document):
        row = {"runtime": "LiteRT, XNNPACK", "values": 1000, "differing": 0, "max_lsb": 0}
        document["layers"] = [
            {"layer": "conv1", **row},
            {"layer": "conv2", **row, "differing": 20, "max_lsb": 2},
            {"layer": "conv2", **row, "runtime": "ONNX Runtime", "differing": 3, "max_lsb": 1},
        ]

    page = Elements(written(build))
    assert "not layer by layer: edgewright verify DIR --layers" in page.words
    builds.edit_json(build / "certificate.json", change)
    drawn = Elements(written(build))
    assert drawn.tags.count("svg") == page.tags.count("svg") + 1
    assert "2 LSB in LiteRT, XNNPACK" in drawn.words
    assert "1 LSB" not in drawn.words
    assert "not layer by layer" not in drawn.words


def test_emulated_cpus_are_listed_where_the_certificate_has_them(build, builds):
    def change(document):
        row = {"features": "", "artifact": "digits.int8.tflite", "runtime": "LiteRT", "samples": 64}
        document["cpus"] = [
            {"cpu": "cortex-a72", **row, "sha256": "0" * 64, "values": 640},
            {"cpu": "Haswell", **row, "not_run": "no qemu here"},
        ]

    builds.edit_json(build / "certificate.json", change)
    words = Elements(written(build)).words
    assert "cortex-a72 digits.int8.tflite LiteRT 64 0 0" in words
    assert "Haswell digits.int8.tflite LiteRT did not run: no qemu here" in words


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["net.a.conv_weight", "net.b.conv_weight"], ["a", "b"]),
        (["conv1_weight", "conv2_weight"], ["conv1", "conv2"]),
        (["a.b", "a.b.c"], ["b", "b.c"]),
        (["one"], ["one"]),
        (["same.x", "same.x"], ["same.x", "same.x"]),
        (["", "a.b"], ["", "a.b"]),
        ([], []),
    ],
)
def test_names_are_drawn_by_what_tells_them_apart(names, shown):
    assert telling(names) == shown
