"""The report in a real browser: what scripts add, what is there without them, and what axe-core finds."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import make

from mico_hub.reporting import figures, page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')  # which forbids what a test adds
DARK = "--blink-settings=preferredColorScheme=0"
ATTACKS = {"loss": 0.2, "entropy": 0.3, "gradient_norm": 0.4, "difficulty": 0.5, "in_loss": 0.7, "classifier": 0.8,
           "lira": 1.0, "rmia": 0.9, "mine": 0.6}  # fmt: skip
HIDDEN = "difficulty"


@pytest.fixture(scope="module")
def report() -> str:
    results = [make("digits_hi", strength, attack=name, title=name) for name, strength in ATTACKS.items()]
    return page.html(results, "A report")


def browse(folder: Path, content: str, script: str, *options: str) -> Any:
    """What a script gives that runs after the page's own, in a page without its policy for scripts."""
    after = f"""<script>
      (async () => {{
        const found = await (async () => {{ {script} }})();
        document.body.insertAdjacentHTML("beforeend", "<pre id=found></pre>");
        document.querySelector("#found").textContent = JSON.stringify(found);
      }})();
    </script></body>"""
    path = folder / "page.html"
    path.write_text(POLICY.sub("", content).replace("</body>", after))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--window-size=1200,900", "--virtual-time-budget=30000", "--dump-dom", *options, path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None, shown[-2000:]
    return json.loads(html.unescape(found[1]))


def test_the_policy_lets_the_pages_own_script_run(tmp_path: Path, report: str) -> None:
    """Which makes each header of a table a button."""
    (tmp_path / "page.html").write_text(report)
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "page.html").as_uri()], capture_output=True, text=True, check=True
    ).stdout
    assert '<button type="button">attack</button>' in shown
    assert "<button" not in report.partition("<script>")[0]


def test_a_table_sorts_by_any_column(tmp_path: Path, report: str) -> None:
    script = """
      const table = document.querySelector("table.sorts");
      const headers = [...table.querySelectorAll("th")];
      const column = headers.findIndex((each) => each.textContent === "at 1%");
      const names = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent.trim());
      const rates = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[column].textContent));
      const before = names();
      headers[column].querySelector("button").click();
      const falling = rates();
      const sorted = headers[column].getAttribute("aria-sort");
      headers[column].querySelector("button").click();
      const rising = rates();
      headers[1].querySelector("button").click();
      return {before, falling, sorted, rising, names: names()};
    """
    found = browse(tmp_path, report, script)
    assert found["falling"] == sorted(found["falling"], reverse=True)
    assert found["rising"] == found["falling"][::-1]
    assert found["sorted"] == "descending"
    assert found["names"] == sorted(ATTACKS, reverse=True)
    assert found["before"][0] == "lira"


def test_a_curve_shows_when_it_is_asked_for_and_its_values_under_the_pointer(tmp_path: Path, report: str) -> None:
    script = f"""
      const drawing = document.querySelector('svg[aria-label*="on linear axes"]');
      const curve = [...drawing.querySelectorAll("g")].find((group) =>
        group.querySelector(":scope > title")?.textContent === "{HIDDEN}");
      const box = document.querySelector('input[aria-label^="draw {HIDDEN} "]');
      const shows = () => getComputedStyle(curve).display !== "none";
      const states = [shows()];
      const output = drawing.parentElement.querySelector("output");
      const usual = output.textContent;
      const [left, top, right, bottom] = drawing.dataset.axes.split(" ").map(Number);
      const at = new DOMPoint(left + (right - left) / 4, (top + bottom) / 2).matrixTransform(drawing.getScreenCTM());
      const move = () => {{
        drawing.dispatchEvent(new PointerEvent("pointermove", {{clientX: at.x, clientY: at.y, bubbles: true}}));
        return output.textContent;
      }};
      const without = move();
      box.click();
      states.push(shows());
      const all = move();
      drawing.dispatchEvent(new PointerEvent("pointerleave"));
      return {{states, usual, without, all, after: output.textContent}};
    """
    found = browse(tmp_path, report, script)
    assert found["states"] == [False, True]
    assert found["after"] == found["usual"] == "digits_hi, final: curves, linear axes"
    assert re.match(r"FPR 25\.\d%: lira \d", found["all"])
    assert HIDDEN not in found["without"]
    shown = dict(re.findall(r"(\w+) (\d+\.\d+)%", found["all"].partition(": ")[2]))
    assert set(shown) == set(ATTACKS)
    for name, strength in ATTACKS.items():
        of = make("digits_hi", strength, attack=name)
        curve = figures.curve("", 0, of.membership, of.predictions, banded=False, rng=np.random.default_rng(0))
        expected = 100 * float(curve.tpr[curve.fpr <= 0.25][-1])
        assert float(shown[name]) == pytest.approx(expected, abs=1.0)  # a pixel is 0.4%, and curves are steps


def test_without_scripts_it_reads_and_boxes_work(tmp_path: Path, report: str) -> None:
    """Showing a curve needs no script; here the page's own is taken out."""
    plain = re.sub(r"<script>.*?</script>", "", report, flags=re.DOTALL)
    script = f"""
      const curve = [...document.querySelectorAll("g")].find((group) =>
        group.querySelector(":scope > title")?.textContent === "{HIDDEN}");
      const shows = () => getComputedStyle(curve).display !== "none";
      const before = shows();
      document.querySelector('input[aria-label^="draw {HIDDEN} "]').click();
      return [before, shows(), document.querySelectorAll("button").length];
    """
    assert browse(tmp_path, plain, script) == [False, True, 0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tmp_path: Path, report: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = f"""
      {(Path(axe.__file__).parent / "axe.min.js").read_text()}
      const found = await axe.run();
      return found.violations.map((each) => [each.impact, each.id, each.nodes[0].html]);
    """
    options = [DARK] if scheme == "dark" else []
    assert browse(tmp_path, report, "return matchMedia('(prefers-color-scheme: dark)').matches", *options) == (
        scheme == "dark"
    )
    found = browse(tmp_path, report, script, *options)
    assert [each for each in found if each[0] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [320, 420])
def test_on_a_phone_only_tables_scroll(tmp_path: Path, report: str, width: int) -> None:
    """A headless window is never narrower than 500, so the page is in a frame."""
    path = tmp_path / "framed.html"
    path.write_text(POLICY.sub("", report))
    frame = (
        f'<!doctype html><body><iframe id="f" width="{width}" height="800" srcdoc="{html.escape(path.read_text())}">'
    )
    script = """
      const inner = document.querySelector("#f");
      while (!inner.contentDocument?.querySelector("table.sorts button")) await new Promise((go) => setTimeout(go, 50));
      const root = inner.contentDocument.documentElement;
      const scroll = inner.contentDocument.querySelector(".scroll");
      return [root.scrollWidth, root.clientWidth, scroll.scrollWidth > scroll.clientWidth];
    """
    whole, window, scrolls = browse(tmp_path, f"{frame}</iframe></body>", script)
    assert whole <= window
    assert scrolls
