"""The built documents: strict, whole, and without a network."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import offline

    return offline


FETCHED = [
    (".html", '<script async src="//cdn.example/x.js">'),
    (".html", '<link rel="preconnect" href="https://fonts.example">'),
    (".html", '<img srcset="https://pictures.example/2x.png 2x">'),
    (".html", '<svg><use xlink:href="https://icons.example/i.svg#a"/></svg>'),
    (".html", "<div style=\"background: url('https://pictures.example/a.png')\">"),
    (".html", "<style>@import 'https://fonts.example/css';</style>"),
    (".html", '<script>const a = fetch("https://api.example/v1")</script>'),
    (".html", '<meta http-equiv="refresh" content="0; url=https://elsewhere.example">'),
    (".css", "@font-face { src: url(https://fonts.example/a.woff2) }"),
    (".js", 's.src = "https://cdn.example/mathjax.js"'),
    (".js", "import('https://cdn.example/m.mjs')"),
]
LINKED = [
    (".html", '<a href="https://doi.org/1">paper</a>'),
    (".html", '<link rel="canonical" href="https://home.example/page"><link rel="next" href="b.html">'),
    (".html", '<img src="../_images/a.png"><script src="_static/x.js?v=1"></script>'),
    (".html", '<img src="data:image/png;base64,AA//BB==">'),
    (".html", '<math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi></math>'),
    (".html", "<pre>fetch('https://not.a.script')</pre>"),
    (".css", "a { background: url(data:image/svg+xml;base64,AA//) } /* https://sphinx-doc.org */"),
    (".js", "// see https://example.org\nfetch('searchindex.js')"),
]


@pytest.mark.parametrize(("suffix", "text"), [*FETCHED, *LINKED])
def test_what_a_browser_would_fetch_is_found_and_links_are_not_complained_of(offline, suffix, text):
    assert len(offline.loads(text, suffix)) == ((suffix, text) in FETCHED)


def test_files_are_named_with_what_they_load(offline, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "index.html").write_text('<img src="a.png">', encoding="utf-8")
    (tmp_path / "deep/page.html").write_text(
        '<img src="//x.example/a.png"><img src="//x.example/a.png">', encoding="utf-8"
    )
    assert list(offline.offences(tmp_path)) == ["deep/page.html loads //x.example/a.png"]
    with pytest.raises(SystemExit) as error:
        offline.main(tmp_path)
    assert error.value.code == 1
    with pytest.raises(SystemExit, match="make docs"):
        offline.main(tmp_path / "deep")


@pytest.fixture
def generated(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs/_extensions"))
    import generated

    return generated


def test_the_table_of_settings_gives_what_can_be_set(generated):
    from vagan.training.config import PRESETS, known_keys, load_config

    rows = [
        [cell.strip(" `") for cell in line[2:-2].split(" | ")]
        for line in generated.settings().splitlines()
        if "`" in line
    ]
    found = {cells[0]: cells[1:] for cells in rows if "." in cells[0]}
    assert list(found) == [key for key in known_keys() if key != "method"]
    for column, preset in enumerate(PRESETS):  # the first one is the default
        values = {key: cells[column] or cells[0] for key, cells in found.items()}
        assert load_config("fast", values) == load_config(preset)
    assert [found["loss.penalty_share"][PRESETS.index(preset)] for preset in ("fast", "paper")] == ["0.25", "1.0"]


def test_generated_parts_are_filled(generated):
    source = ["before\n<!-- generated: methods -->\nold\n<!-- /generated -->\nafter"]
    generated.fill(None, "page", source)
    assert "`integrated-gradients` | integrated gradients | classifier | class score | 50" in source[0]
    assert "old" not in source[0]
    assert source[0].endswith("after")
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    assert {mark[1] for page in pages for mark in generated.MARK.findall(page)} == set(generated.PARTS)


def test_committed_tables_are_current(generated):
    for page in generated.COMMITTED:
        text = page.read_text(encoding="utf-8")
        assert text == generated.filled(text), f"python docs/_extensions/generated.py updates {page.name}"


@pytest.mark.long
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(offline, tmp_path):
    build = [
        sys.executable,
        *["-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "-d"],
        str(tmp_path / "doctrees"),
    ]
    site = tmp_path / "site"
    made = subprocess.run([*build, ".", str(site)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert list(offline.offences(site)) == []
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {"index.html", "docs/index.html", "docs/explanation/experiment-log.html", "CHANGELOG.html"} <= pages
    assert {f"examples/{path.stem}.html" for path in (ROOT / "examples").glob("*.ipynb")} <= pages
    line = (site / "docs/reference/command-line.html").read_text(encoding="utf-8")
    assert all(f">vagan {verb}<" in line for verb in ("demo", "train", "import bids"))
    assert "training.generator_updates" in (site / "docs/reference/settings.html").read_text(encoding="utf-8")
