from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess

import pytest

from exporter.gate.evidence import Evidence
from exporter.history import History
from exporter.report import write_report
from exporter.report.comparison import write_comparison
from exporter.report.history import write_history

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None,
        reason="NO BROWSER: the report is NOT tested as people see it; apt-get install chromium",
    ),
]


@pytest.fixture
def browse(tmp_path):
    """Runs the browser on a page; gives what it printed and what it logged."""

    def run(page, *flags: str):
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags]
        return subprocess.run(
            [*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )

    return run


def console(log: str) -> list[str]:
    """What the page itself said on the console, a refused request among it."""
    return [line for line in log.splitlines() if "CONSOLE" in line]


def test_the_console_stays_silent_and_every_picture_is_there(build, verdict, layers, browse):
    done = browse(write_report(build, verdict=verdict, layers=layers), "--dump-dom")
    assert console(done.stderr) == []
    assert done.stdout.count("<svg") == done.stdout.count("</svg>") == 7
    assert "parsererror" not in done.stdout


def test_the_pages_of_two_builds_and_of_a_history_are_drawn_too(build, builds, layers, browse):
    old = builds.write_build(build.parent / "old")
    changed = [dataclasses.replace(layers[0], name="stem"), *layers[1:]]
    history = History(build.parent / "history.sqlite")
    history.append(build)
    pages = {
        write_comparison(Evidence(build), Evidence(old), (changed, layers)): 1,
        write_history(history.releases(), build.parent / "history.html"): 3,
    }
    for page, pictures in pages.items():
        done = browse(page, "--dump-dom")
        assert console(done.stderr) == []
        assert done.stdout.count("</svg>") == pictures
        assert "parsererror" not in done.stdout


def test_every_picture_takes_its_place_on_the_page(build, verdict, layers, browse):
    """A picture without width or height would be there for a program only."""
    page = write_report(build, verdict=verdict, layers=layers)
    frame = page.with_name("frame.html")
    frame.write_text(
        '<iframe id="f" src="report.html" style="width:1200px;height:800px;border:0"></iframe>'
        "<script>onload = () => { const d = document.getElementById('f').contentDocument;"
        "const small = [...d.querySelectorAll('svg')].filter(s => s.clientWidth < 200"
        " || s.clientHeight < 60); document.title = `small ${small.length}`; }</script>"
    )
    done = browse(frame, "--allow-file-access-from-files", "--dump-dom")
    assert "<title>small 0</title>" in done.stdout


def test_the_console_would_tell_of_a_fault(build, browse):
    page = write_report(build)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    assert "Content Security Policy" in "".join(console(browse(page, "--dump-dom").stderr))


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize("width", [500, 1200])
def test_it_is_drawn_in_both_themes(build, verdict, layers, browse, tmp_path, scheme, width):
    from PIL import Image

    picture = tmp_path / "page.png"
    done = browse(
        write_report(build, verdict=verdict, layers=layers),
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--window-size={width},2500",
        f"--screenshot={picture}",
    )
    assert console(done.stderr) == []
    assert struct.unpack(">I", picture.read_bytes()[16:20])[0] == width
    with Image.open(picture) as image:
        red, green, blue = image.convert("RGB").getpixel((2, 2))
        colours = image.convert("RGB").getcolors(1 << 24)
    assert (max(red, green, blue) < 60) == (scheme == 0)
    assert len(colours) > 100


def test_a_phone_scrolls_down_only(build, verdict, layers, browse):
    """Nothing but the tables, in boxes of their own, is wider than a phone."""
    page = write_report(build, verdict=verdict, layers=layers)
    frame = page.with_name("phone.html")
    frame.write_text(
        '<iframe id="f" src="report.html" style="width:390px;height:800px;border:0"></iframe>'
        "<script>onload = () => { const d = document.getElementById('f').contentDocument"
        ".documentElement; document.title = `wide ${d.scrollWidth} of ${d.clientWidth}`; }"
        "</script>"
    )
    done = browse(frame, "--allow-file-access-from-files", "--dump-dom")
    assert "<title>wide 390 of 390</title>" in done.stdout
