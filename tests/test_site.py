"""The documentation's site: built strictly, so that a dead link or anchor fails; and all that is public is on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mico_hub

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    build = (sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_public_name_is_documented(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    documented = {name.rpartition(".")[2] for name in re.findall(r'<h3 id="([\w.]+)"', page)}
    assert set(mico_hub.__all__) <= documented


def test_the_first_page_is_the_readme_and_its_links_stay_in_the_site(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "Which of these records was this model trained on?" in page
    links = re.findall(r'href="([^"#:]+\.html)', page)
    assert {"concepts.html", "tutorials/attack.html", "CONTRIBUTING.html"} <= set(links)
    assert all((site / link).is_file() for link in links)
    assert (site / re.findall(r'src="([^"]*roc\.png)"', page)[0]).is_file()


def test_reading_it_asks_nothing_of_the_network(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"')
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text(encoding="utf-8")) == [], page
