"""What objects show in notebooks is theirs, and escaped."""

import base64
import io
import re

import imageio.v3 as imageio
import numpy as np
import pandas as pd

from vagan.evaluation.evaluation import Evaluation, Examples
from vagan.notebook import facts_html, pictures_html, table_html

NASTY = "<script>alert('1')</script>"


def test_text_is_escaped_everywhere():
    made = (
        facts_html(NASTY, {NASTY: NASTY})
        + table_html([NASTY], [[NASTY, NASTY]])
        + pictures_html([np.zeros((3, 4), np.float32)], [f'"{NASTY}'])
    )
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 8
    assert 'alt="&quot;&lt;' in made


def test_a_picture_holds_the_image():
    image = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    (content,) = re.findall(r"base64,([^\"]+)", pictures_html([image], ["a"]))
    shown = imageio.imread(io.BytesIO(base64.b64decode(content))) / 127.5 - 1
    np.testing.assert_allclose(shown, image, atol=0.5 / 127.5 + 1e-6)


def test_a_cohort_shows_its_counts_and_one_image_of_each_class(small_cohort):
    made = small_cohort._repr_html_()
    for name, label in (("baseline", 0), (small_cohort.manifest.classes[1], 1)):
        counts = [len(small_cohort.manifest.indices(split, label)) for split in ("train", "validation", "test")]
        row = "".join(f"<td>{count}</td>" for count in counts)
        assert f'<th style="text-align: left">{name}</th>{row}' in made
    assert made.count("<img") == 2
    assert small_cohort.metadata.content_hash in made


def test_an_evaluation_shows_its_scores_best_first():
    scores = {
        name: {"ncc": {"mean": mean, "std": 0.1, "ci95": [mean - 0.05, mean + 0.05], "n": 9}}
        for name, mean in (("low", 0.2), (f"high {NASTY}", 0.9), ("ceiling", 0.97))
    }
    ceiling = scores.pop("ceiling")
    examples = Examples((), np.zeros((0, 1, 2, 3), np.float32), None, {})
    made = Evaluation(pd.DataFrame(), scores, ceiling, examples)._repr_html_()
    assert "<script" not in made
    assert made.index("0.90 ± 0.10 [0.85, 0.95]") < made.index("0.20 ± 0.10") < made.index("0.97 ± 0.10")
