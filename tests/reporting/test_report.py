"""The page says what the results folder says, needs nothing else, and is whole or not there."""

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import save_random_generator
from vagan.data.sources.synthetic import make_case
from vagan.errors import RunError
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.results import ResultsFolder
from vagan.inference.attributor import Attributor
from vagan.progress import duration
from vagan.reporting import report
from vagan.reporting.report import build_report, number

NASTY = "<script>alert(1)</script>"


def score(mean: float, std: float, n: int = 24) -> dict[str, Any]:
    return {"mean": mean, "std": std, "ci95": [mean - 2 * std / n**0.5, mean + 2 * std / n**0.5], "n": n}


def summary() -> dict[str, Any]:
    return {
        "methods": {
            "cam": {"ncc": score(0.4123456, 0.071), "mean_abs": score(0.00312, 0.0004)},
            "vagan": {"ncc": score(0.9312345, 0.0432), "mean_abs": score(0.0871, 0.012)},
            f"random {NASTY}": {"ncc": score(-0.0004, 0.062)},
        },
        "ceiling": {"ncc": score(0.9734, 0.011)},
        "thresholds": {"vagan": 0.31},
        "rules": {
            "selection": "last checkpoint",
            "examples": "first of each subtype",
            "conventions": {"sign": "brighter is positive"},
        },
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
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "vagan"
    run.mkdir(parents=True)
    (tmp_path / "summary.json").write_text(json.dumps(summary()), encoding="utf-8")
    cases = [make_case(row, subtype="AB"[row], size=(16, 21)) for row in range(2)]
    images = np.stack([case.image[None] for case in cases])
    effects = np.stack([case.effect[None] for case in cases])
    np.savez(
        tmp_path / "examples.npz",
        ids=np.array(["one", NASTY]),
        images=images,
        effects=effects,
        **{"maps/vagan": effects},
    )
    (run / "config.yaml").write_text(
        "method: vagan\ntraining:\n  seed: 17\n  generator_updates: 240\n", encoding="utf-8"
    )
    (run / "environment.txt").write_text("torch==2.6\n", encoding="utf-8")
    pd.DataFrame({"update": [1, 2, 3], "critic/wasserstein": [3.0, 2.0, 1.0]}).to_csv(
        run / "metrics.csv", index=False
    )
    return tmp_path


class Page(HTMLParser):
    """Tags with attributes, cells of the score table, and plain text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[tuple[str | None, str]]] = []
        self.text = ""
        self._inside = False
        self._quiet = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._inside = dict(attrs).get("id") == "score-table"
        self._quiet = tag in ("style", "script")
        if tag == "br":
            self.handle_data(" ")
        if tag in ("td", "th", "dt", "dd"):
            self.text += " "
        if self._inside and tag == "tr":
            self.rows.append([])
        if self._inside and tag in ("td", "th"):
            self.rows[-1].append((dict(attrs).get("data-value"), ""))

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "table"
        self._quiet = False

    def handle_data(self, data):
        if not self._quiet:
            self.text += data
        if self._inside and self.rows and self.rows[-1]:
            value, text = self.rows[-1][-1]
            self.rows[-1][-1] = (value, (text + data).rstrip("\n"))


def page(folder: Path) -> Page:
    return Page(build_report(folder).read_text(encoding="utf-8"))


def test_table_holds_the_numbers_of_the_summary(folder):
    head, *rows = page(folder).rows
    assert [text.strip() for _, text in head] == ["Method", "NCC", "Mean |map|", "n"]
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


def test_summary_in_words_names_the_best_and_the_ceiling(folder):
    text = re.search(r'<p id="summary">(.*?)</p>', build_report(folder).read_text(encoding="utf-8"), re.DOTALL).group(
        1
    )
    words = " ".join(html.unescape(re.sub("<[^>]+>", "", text)).split())
    assert "synthetic squares & more (classes: baseline, two squares), 60 images" in words
    assert "Of 3 methods, vagan has the highest mean NCC on 24 test images: 0.931" in words
    assert "Next is cam with 0.412" in words
    assert "0.973" in words


def test_page_tells_how_it_came_about(folder):
    text = " ".join(page(folder).text.split())
    for part in (
        "last checkpoint",
        "first of each subtype",
        "brighter is positive",
        "8 min 32 s",
        "13.1 ms",
        "two cores",
        "abc123",
        "generator_updates: 240",
        "torch==2.6",
        "(seed 17)",
        "240 updates",
        "60 train, 16 validation, 24 test",
        "may contain participant-level derivatives",
    ):
        assert part in text, part


def test_text_from_the_folder_is_escaped(folder):
    (folder / "runs" / "vagan" / "config.yaml").write_text(f"method: '{NASTY}'\n", encoding="utf-8")
    text = build_report(folder).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert html.escape(NASTY) in text


def test_page_refers_to_nothing_outside_itself(folder):
    text = build_report(folder).read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    tags = page(folder).tags
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed", "base")]
    references = [
        value for _, attributes in tags for key, value in attributes.items() if key in ("src", "href", "srcset")
    ]
    assert references
    assert all(value.startswith("data:image/svg+xml,") for value in references)


def test_what_was_left_out_is_counted_and_named_unless_ids_are_hidden(folder):
    assert 'id="left-out"' not in build_report(folder).read_text(encoding="utf-8")  # not recorded
    rows = f"image,reason\nsub-7.nii,no brain\nsub-8.nii,no brain\nsub-9.nii,{NASTY}\n"
    rows += "sub-6.nii,sub-6.nii is constant: 3\nsub-5.nii,/home/jane/sub-5.nii repeats 'sub-4' of I123\n"
    (folder / "left_out.csv").write_text(rows, encoding="utf-8")
    text = " ".join(page(folder).text.split())
    assert "5 images were excluded" in text
    assert "no brain 2" in text
    assert "sub-8.nii no brain" in text
    hidden = build_report(folder, hide_ids=True).read_text(encoding="utf-8")
    assert not re.search(r"sub-\d|I123|jane", hidden)
    assert "is constant" in hidden
    assert "no brain" in hidden
    assert NASTY not in hidden
    (folder / "left_out.csv").write_text("image,reason\n", encoding="utf-8")
    assert "No image was excluded" in page(folder).text


def viewer_of(folder: Path, **options: Any) -> dict[str, Any]:
    text = build_report(folder, **options).read_text(encoding="utf-8")
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(content)


def test_the_viewer_shows_the_examples_with_their_own_scores(folder):
    rows = [f"one,s,1,vagan,ncc,0.91\n{NASTY},s,1,vagan,ncc,-0.2"]
    (folder / "scores.csv").write_text("\n".join(["case,subject,label,method,metric,value", *rows]), "utf-8")
    data = viewer_of(folder)
    assert [(case["name"], case["scores"]) for case in data["cases"]] == [
        ("one", {"vagan": "NCC 0.910"}),
        (NASTY, {"vagan": "NCC −0.200"}),
    ]
    assert [method["name"] for method in data["methods"]] == ["vagan", "observed effect"]
    hidden = viewer_of(folder, hide_ids=True)
    assert [(case["name"], case["scores"]) for case in hidden["cases"]] == [
        ("image 1", {"vagan": "NCC 0.910"}),
        ("image 2", {"vagan": "NCC −0.200"}),
    ]


def test_figures_have_words_and_files(folder):
    images = [attributes for tag, attributes in page(folder).tags if tag == "img"]
    assert len(images) == 3
    assert all(len(image["alt"]) > 20 for image in images)
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        f"{name}.{kind}" for name in ("scores", "examples", "training-vagan") for kind in ("png", "svg", "pdf")
    }


def test_scores_alone_make_a_report(tmp_path):
    minimal = {"methods": {"vagan": {"dice": score(0.5, 0.1)}}}
    (tmp_path / "summary.json").write_text(json.dumps(minimal), encoding="utf-8")
    text = page(tmp_path).text
    assert "highest mean Dice on 24 test images: 0.500" in text
    for heading in ("Examples", "Training", "Cost", "Model selection"):
        assert heading not in text


def test_sizes_alone_rank_nobody(tmp_path):
    ratio = {"mean": 0.2, "std": None, "ci95": [0.1, 0.3], "n": 9}
    sizes = {"methods": {"vagan": {"mean_abs": score(0.05, 0.01), "baseline_response_ratio": ratio}}}
    (tmp_path / "summary.json").write_text(json.dumps(sizes), encoding="utf-8")
    made = page(tmp_path)
    assert "cannot rank the methods" in made.text
    assert "highest" not in made.text
    assert made.rows[1][2] == ("0.2", "0.200 0.100 to 0.300")


def test_undefined_scores_are_dashes_at_the_end(folder):
    values = summary()
    values["methods"]["cam"]["ncc"] = {"mean": None, "std": None, "ci95": [None, None], "n": 0}
    (folder / "summary.json").write_text(json.dumps(values), encoding="utf-8")
    rows = page(folder).rows
    assert [row[0][1] for row in rows[1:4]] == ["vagan", f"random {NASTY}", "cam"]
    assert rows[3][1][1] == "–"


def test_volumes_make_a_report(folder):
    cases = [make_case(row, subtype="AB"[row], size=(16, 17, 18)) for row in range(2)]
    images = np.stack([case.image[None] for case in cases])
    np.savez(folder / "examples.npz", ids=["a", "b"], images=images, **{"maps/vagan": images})
    assert "axial slice" in page(folder).text


def test_same_folder_gives_the_same_page(folder):
    assert build_report(folder).read_bytes() == build_report(folder).read_bytes()


@pytest.mark.parametrize("there", [True, False])
def test_missing_results_name_the_file_and_the_command(tmp_path, there):
    wanted = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(
        RunError, match=r"summary\.json is missing; make it with `vagan evaluate COHORT RUN\.\.\. --out"
    ):
        build_report(wanted)
    assert not list(tmp_path.iterdir())


def change(**parts: Any) -> str:
    return json.dumps({**summary(), **parts})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{", r"summary\.json is damaged .*Invalid JSON"),
        ("summary.json", "[]", r"summary\.json is damaged"),
        ("summary.json", "{}", r"summary\.json is damaged .*methods: Field required"),
        ("summary.json", '{"methods": {}}', "at least one method"),
        (
            "summary.json",
            '{"methods": {"vagan": {"ncc": {"mean": 1}}}}',
            r"summary\.json is damaged \(KeyError: 'std'",
        ),
        ("summary.json", change(machine="fast"), "machine: Input should be"),
        ("summary.json", change(cohort={"counts": 7}), "counts must hold names and values"),
        (
            "summary.json",
            change(map_seconds={"vagan": "quick"}),
            r"map_seconds\.vagan: Input should be",
        ),
        ("examples.npz", "no archive", r"examples\.npz is damaged"),
        ("runs/vagan/config.yaml", "a: [", r"config\.yaml is damaged"),
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
        (
            {"maps/vagan": np.zeros((2, 1, 21, 16))},
            r"the shape of the images, found \(2, 1, 21, 16\) for maps/vagan",
        ),
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


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("part", ["training_curves", "rendered", "_page"])
def test_older_report_stays_whole_if_building_fails(folder, monkeypatch, part):
    build_report(folder)
    values = summary()
    values["methods"]["vagan"]["ncc"] = score(0.1, 0.1)
    (folder / "summary.json").write_text(json.dumps(values), encoding="utf-8")
    before = files(folder)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("drawing failed")

    monkeypatch.setattr(report, part, fail)
    with pytest.raises(RuntimeError, match="drawing failed"):
        build_report(folder)
    assert files(folder) == before


def test_numbers_are_written_for_readers():
    assert number(-0.0314, 3) == "−0.031"
    assert number(math.nan, 3) == "–"
    assert [duration(s) for s in (0.0131, 44.13, 512.3, 7265)] == ["13.1 ms", "44.1 s", "8 min 32 s", "2 h 01 min"]
    tiny, usual, huge = (
        report.Score(0.00312, 0.0004, 0.003, 0.0032, 9),
        report.Score(0.0, 0.06, -0.01, 0.01, 9),
        report.Score(132.0, 9.0, 130.0, 134.0, 9),
    )
    assert (tiny.decimals, usual.decimals, huge.decimals) == (5, 3, 0)


def test_classifiers_are_judged_on_the_page(folder):
    figures = {"accuracy": 0.987, "balanced_accuracy": 0.976, "auc": 0.9987, "calibration_error": 0.0123}
    about = summary() | {"classifiers": {f"mine {NASTY}": figures}}
    (folder / "summary.json").write_text(json.dumps(about), encoding="utf-8")
    text = build_report(folder).read_text(encoding="utf-8")
    assert all(shown in text for shown in ("0.987", "0.976", "0.999", "0.012"))
    assert NASTY not in text


def test_maps_of_an_ensemble_can_be_subtracted_in_the_viewer(small_cohort, tmp_path):
    runs = [save_random_generator(tmp_path / name, shape=(24, 20)) for name in "ab"]
    ensemble = Attributor.load(runs)
    evaluation = evaluate([ensemble], small_cohort)
    ResultsFolder(tmp_path / "out").write(evaluation, small_cohort)
    (method,) = (one for one in viewer_of(tmp_path / "out")["methods"] if one["name"] == ensemble.name)
    assert (method["unit"], method["off"]) == ("intensity", True)
