"""The page says what the results folder says, needs nothing else, and is whole or not there."""

import html
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import save_random_generator
from vagan.data.sources.synthetic import make_case
from vagan.errors import OutputError, RunError
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.results import ResultsFolder, Score
from vagan.inference.attributor import Attributor
from vagan.progress import duration
from vagan.reporting import report
from vagan.reporting.report import build_report, number

NASTY = "<script>alert(1)</script>"


def score(mean: float, std: float, n: int = 24) -> dict[str, Any]:
    return {"mean": mean, "std": std, "ci95": [mean - 2 * std / n**0.5, mean + 2 * std / n**0.5], "n": n}


def summary(**changed: Any) -> dict[str, Any]:
    return {
        "methods": {
            "cam": {"ncc": score(0.4123456, 0.071), "mean_abs": score(0.00312, 0.0004)},
            "vagan": {"ncc": score(0.9312345, 0.0432), "mean_abs": score(0.0871, 0.012)},
            f"random {NASTY}": {"ncc": score(-0.0004, 0.062)},
        },
        "ceiling": {"ncc": score(0.9734, 0.011)},
        "thresholds": {"vagan": 0.31},
        "rules": {"selection": "last checkpoint", "conventions": {"sign": "brighter is positive"}},
        "train_seconds": {"vagan": 512.3},
        "map_seconds": {"vagan": 0.0131},
        "machine": {"processor": "two cores"},
        "versions": {"vagan": "0.1.0"},
        "cohort": {
            "source": "synthetic squares & more",
            "hash": "abc123",
            "classes": ["baseline", "two squares"],
            "counts": {"train": 60, "validation": 16, "test": 24},
        },
    } | changed


def write_summary(folder: Path, content: dict[str, Any]) -> None:
    (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "vagan"
    run.mkdir(parents=True)
    write_summary(tmp_path, summary())
    cases = [make_case(row, subtype="AB"[row], size=(16, 21)) for row in range(2)]
    images, effects = (np.stack([getattr(case, name)[None] for case in cases]) for name in ("image", "effect"))
    maps = {"maps/vagan": effects}
    np.savez(tmp_path / "examples.npz", ids=np.array(["one", NASTY]), images=images, effects=effects, **maps)
    (run / "config.yaml").write_text(
        f"method: vagan\nnote: '{NASTY}'\ntraining:\n  seed: 17\n  generator_updates: 240\n", encoding="utf-8"
    )
    (run / "environment.txt").write_text("torch==2.6\n", encoding="utf-8")
    curve = pd.DataFrame({"update": [1, 2, 3], "critic/wasserstein": [3.0, 2.0, 1.0]})
    curve.to_csv(run / "metrics.csv", index=False)
    return tmp_path


class Page:
    """Source, plain text, and cells of the score table with their values."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.source = build_report(folder, **options).read_text(encoding="utf-8")
        self.text = plain(re.sub(r"<(style|script).*?</\1>", "", self.source, flags=re.DOTALL))
        table = re.search(r'<table[^>]*id="score-table".*?</table>', self.source, re.DOTALL)
        cell = r'<t[dh](?: [^>]*?data-value="(.*?)"|)[^>]*>(.*?)</t[dh]>'
        lines = re.findall(r"<tr.*?</tr>", table[0] if table else "", re.DOTALL)
        self.rows = [[(v, plain(t)) for v, t in re.findall(cell, line, re.DOTALL)] for line in lines]


def plain(source: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", source)).split())


def test_table_holds_the_numbers_of_the_summary(folder):
    head, *rows = Page(folder).rows
    assert [text for _, text in head] == ["Method", "NCC", "Mean |map|", "n"]
    cells = {row[0][1]: row[1:] for row in rows}
    expected = {**summary()["methods"], "ceiling": summary()["ceiling"]}
    assert list(cells) == ["vagan", "cam", f"random {NASTY}", "ceiling"]
    for name, scores in expected.items():
        for (value, text), metric in zip(cells[name], ("ncc", "mean_abs"), strict=False):
            if metric not in scores:
                assert text == "–"
                continue
            assert float(value) == scores[metric]["mean"]
            shown = [float(part.replace("−", "-")) for part in re.findall(r"[−\d.]+", text)]
            true = [scores[metric]["mean"], scores[metric]["std"], *scores[metric]["ci95"]]
            np.testing.assert_allclose(shown, true, atol=0.0005 if abs(true[0]) > 0.005 or metric == "ncc" else 5e-6)
    undefined = {"mean": None, "std": None, "ci95": [None, None], "n": 0}
    write_summary(folder, summary(methods=summary()["methods"] | {"cam": {"ncc": undefined}}))
    rows = Page(folder).rows
    assert [row[0][1] for row in rows[1:4]] == ["vagan", f"random {NASTY}", "cam"]
    assert rows[3][1][1] == "–"


SAID = (
    *("synthetic squares & more (classes: baseline, two squares), 60 images", "Next is cam with 0.412", "0.973"),
    "Of 3 methods, vagan has the highest mean NCC on 24 test images: 0.931",
    *("last checkpoint", "brighter is positive", "8 min 32 s", "13.1 ms", "two cores", "abc123", "torch==2.6"),
    *("generator_updates: 240", "(seed 17)", "240 updates", "60 train, 16 validation, 24 test"),
    "may contain participant-level derivatives",
)


def test_page_says_what_the_folder_says_and_needs_nothing_else(folder):
    page = Page(folder)
    for part in SAID:
        assert part in page.text, part
    assert "<script>alert" not in page.source
    assert html.escape(NASTY) in page.source
    assert not re.search(r"https?://|@import|url\(|<(link|iframe|object|embed|base)\b", page.source)
    references = re.findall(r'<[^>]* (?:src|href|srcset)="([^"]*)"', page.source)
    assert references
    assert all(value.startswith("data:image/svg+xml,") for value in references)
    assert Page(folder).source == page.source


def test_scores_alone_make_a_report_and_sizes_rank_nobody(tmp_path):
    write_summary(tmp_path, {"methods": {"vagan": {"dice": score(0.5, 0.1)}}})
    text = Page(tmp_path).text
    assert "highest mean Dice on 24 test images: 0.500" in text
    assert not [heading for heading in ("Examples", "Training", "Cost", "Model selection") if heading in text]
    ratio = {"mean": 0.2, "std": None, "ci95": [0.1, 0.3], "n": 9}
    sizes = {"mean_abs": score(0.05, 0.01), "baseline_response_ratio": ratio}
    write_summary(tmp_path, {"methods": {"vagan": sizes}})
    page = Page(tmp_path)
    assert "cannot rank the methods" in page.text
    assert "highest" not in page.text
    assert page.rows[1][2] == ("0.2", "0.200 0.100 to 0.300")


def test_what_was_left_out_is_counted_and_named_unless_ids_are_hidden(folder):
    assert 'id="left-out"' not in Page(folder).source  # not recorded
    rows = f"image,reason\nsub-7.nii,no brain\nsub-8.nii,no brain\nsub-9.nii,{NASTY}\n"
    rows += "sub-6.nii,sub-6.nii is constant: 3\nsub-5.nii,/home/jane/sub-5.nii repeats 'sub-4' of I123\n"
    (folder / "left_out.csv").write_text(rows, encoding="utf-8")
    text = Page(folder).text
    assert all(part in text for part in ("5 images were excluded", "no brain 2", "sub-8.nii no brain"))
    hidden = Page(folder, hide_ids=True).source
    assert not re.search(r"sub-\d|I123|jane", hidden)
    assert "is constant" in hidden
    assert "no brain" in hidden
    assert NASTY not in hidden
    (folder / "left_out.csv").write_text("image,reason\n", encoding="utf-8")
    assert "No image was excluded" in Page(folder).text


def viewer_of(folder: Path, **options: Any) -> dict[str, Any]:
    text = build_report(folder, **options).read_text(encoding="utf-8")
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(content)


def test_the_viewer_shows_the_examples_with_their_own_scores(folder):
    rows = f"one,s,1,vagan,ncc,0.91\n{NASTY},s,1,vagan,ncc,-0.2"
    (folder / "scores.csv").write_text(f"case,subject,label,method,metric,value\n{rows}", encoding="utf-8")
    for hide, names in ((False, ["one", NASTY]), (True, ["image 1", "image 2"])):
        data = viewer_of(folder, hide_ids=hide)
        assert [case["name"] for case in data["cases"]] == names
        assert [case["scores"] for case in data["cases"]] == [{"vagan": "NCC 0.910"}, {"vagan": "NCC −0.200"}]
        assert [method["name"] for method in data["methods"]] == ["vagan", "known effect"]


def test_figures_have_words_and_files(folder):
    words = re.findall(r'<img [^>]*alt="([^"]*)"', Page(folder).source)
    assert len(words) == 3
    assert all(len(alt) > 20 for alt in words)
    names = {path.name for path in (folder / "figures").iterdir()}
    stems = ("scores", "examples", "training-vagan")
    assert names == {f"{name}.{kind}" for name in stems for kind in ("png", "svg", "pdf")}
    volumes = np.stack([make_case(row, subtype="AB"[row], size=(16, 17, 18)).image[None] for row in range(2)])
    np.savez(folder / "examples.npz", ids=["a", "b"], images=volumes, **{"maps/vagan": volumes})
    assert "axial slice" in Page(folder).text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{", r"summary\.json is damaged .*Invalid JSON"),
        ("summary.json", "{}", r"summary\.json is damaged .*methods: Field required"),
        ("summary.json", '{"methods": {"vagan": {"ncc": {"mean": 1}}}}', r"summary\.json is damaged"),
        ("summary.json", json.dumps(summary(machine="fast")), "machine: Input should be"),
        ("summary.json", json.dumps(summary(cohort={"counts": 7})), "counts must hold names and values"),
        ("summary.json", json.dumps(summary(map_seconds={"vagan": "quick"})), r"map_seconds\.vagan: Input should be"),
        ("examples.npz", "no archive", r"examples\.npz is damaged"),
        ("scores.csv", "\0damaged", r"scores\.csv"),
        ("runs/vagan/config.yaml", "a list", r"config\.yaml is damaged"),
        ("runs/vagan/metrics.csv", "", r"metrics\.csv is damaged"),
        ("runs/vagan/metrics.csv", "a,b\n1,2\n", r"metrics\.csv .*the column update, found a, b"),
    ],
)
def test_damaged_files_are_named(folder, name, content, message):
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=message) as error:
        build_report(folder)
    assert f"`vagan evaluate COHORT RUN... --out {folder}`" in str(error.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"maps/vagan": np.zeros((2, 1, 21, 16))}, r"the shape of the images, found \(2, 1, 21, 16\) for maps/vagan"),
        ({"maps/vagan": np.full((2, 1, 16, 21), np.nan)}, "finite.* for maps/vagan"),
        ({"images": np.zeros((2, 16, 21))}, r"must hold images \(n, channel, \*space\), found \(2, 16, 21\)"),
        ({"ids": np.array(["one"])}, "1 ids"),
        ({"ids": np.array([{}, {}], dtype=object)}, r"examples\.npz is damaged"),
    ],
)
def test_examples_that_do_not_fit_are_refused(folder, arrays, message):
    sound = {"ids": np.array(["one", "two"]), "images": np.zeros((2, 1, 16, 21))}
    np.savez(folder / "examples.npz", **{**sound, **arrays})
    with pytest.raises(RunError, match=message):
        ResultsFolder(folder).read()


@pytest.mark.parametrize("part", ["training_curves", "rendered", "_page"])
def test_older_report_stays_whole_if_building_fails(folder, monkeypatch, part):
    build_report(folder)
    write_summary(folder, summary(methods={"vagan": {"ncc": score(0.1, 0.1)}}))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("drawing failed")

    monkeypatch.setattr(report, part, fail)
    with pytest.raises(RuntimeError, match="drawing failed"):
        build_report(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_page_of_somebody_else_is_not_replaced(folder):
    page = folder / "report.html"
    page.write_text("<html><title>My report</title></html>", encoding="utf-8")
    with pytest.raises(OutputError, match=r"report\.html is not of `vagan report`"):
        build_report(folder)
    assert "My report" in page.read_text(encoding="utf-8")
    assert not (folder / "figures").exists()
    page.unlink()
    build_report(folder)
    build_report(folder)  # its own is


def test_numbers_are_written_for_readers():
    assert (number(-0.0314, 3), number(math.nan, 3)) == ("−0.031", "–")
    assert [duration(s) for s in (0.0131, 44.13, 512.3, 7265)] == ["13.1 ms", "44.1 s", "8 min 32 s", "2 h 01 min"]
    scores = ((0.00312, 0.0004, (0.003, 0.0032)), (0.0, 0.06, (-0.01, 0.01)), (132.0, 9.0, (130.0, 134.0)))
    decimals = [Score(mean=mean, std=std, ci95=ends, n=9).decimals for mean, std, ends in scores]
    assert decimals == [5, 3, 0]


def test_classifiers_are_judged_on_the_page(folder):
    figures = {"accuracy": 0.987, "balanced_accuracy": 0.976, "auc": 0.9987, "calibration_error": 0.0123}
    write_summary(folder, summary(classifiers={f"mine {NASTY}": figures}))
    text = Page(folder).source
    assert all(shown in text for shown in ("0.987", "0.976", "0.999", "0.012"))
    assert NASTY not in text


def test_maps_of_an_ensemble_can_be_subtracted_in_the_viewer(small_cohort, tmp_path):
    runs = [save_random_generator(tmp_path / name, shape=(24, 20)) for name in "ab"]
    ensemble = Attributor.load(runs)
    ResultsFolder(tmp_path / "out").write(evaluate([ensemble], small_cohort), small_cohort)
    (method,) = (one for one in viewer_of(tmp_path / "out")["methods"] if one["name"] == ensemble.name)
    assert (method["unit"], method["off"]) == ("intensity", True)
