"""The card of an exported folder says what the model is and names nobody."""

import json
from itertools import pairwise

import pytest
import yaml
from markdown_it import MarkdownIt

from models import save_random_generator
from vagan.exporting.hub import export_hub

SCORE = {"ncc": {"mean": 0.93, "std": 0.04, "ci95": [0.91, 0.95], "n": 24}}
CLASSES = ("healthy", "ill\n# a heading <b>")
RULE = "last\n---\nlicense: mit\n![image](//x)"
SOURCE = "study | `code` **bold** [link](//x) https://x.example <script>"


@pytest.fixture
def run(tmp_path):
    """A run whose texts are all meant to add markup to the card."""
    save_random_generator(tmp_path / "run" / "model", classes=CLASSES, rule=RULE)
    about = {
        "hash": "abc123` [link](//x)",
        "source": SOURCE,
        "splits": {"train": ["Jane Doe", "John Doe"], "test": ["Jim Doe"]},
    }
    (tmp_path / "run" / "cohort.json").write_text(json.dumps(about), encoding="utf-8")
    return tmp_path / "run"


def test_the_card_has_data_and_scores_and_no_markup_or_identifiers_of_the_run(run, tmp_path):
    (tmp_path / "results").mkdir()
    summary = {"methods": {"VA-GAN | [link](//x)\n\n# heading": SCORE}, "ceiling": {}}
    (tmp_path / "results" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    card = (export_hub(run, tmp_path / "hub", results=tmp_path / "results") / "README.md").read_text(encoding="utf-8")
    assert export_hub(tmp_path / "hub", tmp_path / "again").is_dir()  # a model folder on its own can be exported too
    assert "Doe" not in card
    _, front, body = card.split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"library_name", "license", "license_name", "tags"}
    assert yaml.safe_load(front)["license"] == "other"
    tokens = [
        child
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(body)
        for child in (token, *(token.children or ()))
    ]
    assert not [token for token in tokens if token.type in ("link_open", "image", "html_inline", "html_block")]
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Usage", "Data", "Scores", "Limitations", "Licence"]
    text = "".join(token.content for token in tokens if token.type in ("text", "code_inline"))
    for part in (" ".join(CLASSES[1].split()), " ".join(RULE.split()), SOURCE, "abc123` [link](//x)"):
        assert part in text
    cells = [token for token in tokens if token.type == "td_open"]
    assert len(cells) == 2  # the pipe in the method's name makes no further one
    assert "0.93 ± 0.04 [0.91, 0.95]" in text
    assert "2 train, 1 test images" in text
