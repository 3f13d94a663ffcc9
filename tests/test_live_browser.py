"""A live board in a real browser: by form, by keyboard, without scripts, on a phone, in the dark."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import Live
from test_browser import BROWSER
from test_live_board import packed

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def live(published: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICO_HUB_CACHE", str(folder / "cache"))
        with Live(folder, published, trained, baselines=("loss",)) as running:
            while not running.board.standings("digits"):
                pass
            yield running


@pytest.fixture(scope="module")
def files(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with right.zip and wrong.zip."""
    folder = tmp_path_factory.mktemp("files")
    content = packed(published)
    (folder / "right.zip").write_bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as held, zipfile.ZipFile(folder / "wrong.zip", "w") as out:
        for name in held.namelist():
            if "digits_hi/dev" not in name:
                out.writestr(name, held.read(name))
    return folder


def visit(browser: Any, live: Live, token: str = "", **more: Any) -> Any:
    """A page of a new visitor, logged in where there is a token."""
    page = browser.new_context(**more).new_page()
    page.goto(f"{live.url}/submit" if token else live.url)
    if token:
        page.get_by_label("Your token").fill(token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("text=Log out")
    return page


@pytest.mark.parametrize("scripts", [True, False])
def test_an_upload_is_refused_mended_and_on_the_board(browser: Any, live: Live, files: Path, scripts: bool) -> None:
    name = f"by form, scripts {scripts}"
    page = visit(browser, live, live.board.store.add_participant(name), java_script_enabled=scripts)
    page.get_by_label("Predictions").set_input_files(files / "wrong.zip")
    page.get_by_label("Name of the attack").fill("mine")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("text=It was not scored, and counts against no limit", timeout=60_000)
    assert "of digits_hi it has final alone" in page.inner_text("main")

    page.get_by_role("link", name="Submit").click()
    page.get_by_label("Predictions").set_input_files(files / "right.zip")
    page.get_by_label("Name of the attack").fill("mine")
    page.get_by_label("white-box").check()
    page.get_by_label("side information").check()
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("text=TPR at 10% FPR", timeout=60_000)
    page.get_by_role("link", name="the board").click()
    row = page.locator("tr.mine")
    assert name in row.inner_text()
    assert "side information" in row.inner_text()
    page.get_by_role("link", name="black-box", exact=True).click()
    assert page.locator("tbody tr").count() == 1
    page.get_by_role("link", name="My submissions").click()
    assert page.locator("tbody tr").count() == 2
    page.context.close()


def test_a_keyboard_is_enough_to_take_part_and_to_sort(browser: Any, live: Live) -> None:
    page = visit(browser, live)
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        if seen[-1] == "place":
            break
    assert "Submit" in seen
    assert "upload it here" in seen
    assert seen[-1] == "place"
    outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outlined != "none"
    page.keyboard.press("Enter")
    assert page.locator("th").first.get_attribute("aria-sort") == "descending"
    places = [int(each) for each in page.locator("tbody td:first-child").all_inner_texts()]
    assert places == sorted(places, reverse=True)
    page.context.close()


@pytest.mark.parametrize("path", ["/", "/submit", "/rules", "/api"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_or_moves_on_a_phone(browser: Any, live: Live, path: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    page = context.new_page()
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => { for (const each of list.getEntries()) "
        "window.moved += each.value; }).observe({ type: 'layout-shift', buffered: true })"
    )
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(live.url + path)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("window.moved") == 0
    assert problems == []  # such as what the policy would have blocked
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/submit", "/rules", "/api", "/nothing"])
def test_axe_finds_nothing(browser: Any, live: Live, path: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(live.url + path)
    page.evaluate(script)
    found = page.evaluate("axe.run()")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    context.close()


def test_pictures_come_when_the_phase_is_over(
    browser: Any, published: Path, trained: Path, tmp_path: Path, files: Path, fresh_cache: Path
) -> None:
    from mico_hub.boards.live.phases import close_dev

    with Live(tmp_path, published, trained) as live:
        token = live.board.store.add_participant("alice")
        live.scored(live.send(token, (files / "right.zip").read_bytes()).json()["id"])
        page = visit(browser, live)
        assert page.get_by_role("link", name="report.html").count() == 0
        close_dev(live.board, "digits")
        page.reload()
        page.get_by_role("link", name="report.html").click()
        page.wait_for_selector("svg")
        assert page.locator("svg[role=img], svg.drawing, figure svg").count() > 0
        page.context.close()


def test_the_board_fits_a_printed_page(browser: Any, live: Live) -> None:
    page = visit(browser, live, viewport={"width": 718, "height": 1000})  # A4 less margins
    page.emulate_media(media="print")
    widest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('table')].map(t => t.getBoundingClientRect().right))"
    )
    assert widest <= 718
    assert not page.locator("nav").is_visible()
