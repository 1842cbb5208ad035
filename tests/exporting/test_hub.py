"""An exported folder gives the same maps, and its card says what the model is and names nobody."""

import json

import pytest
import torch

from models import save_random_generator
from vagan.errors import OutputError, RunError
from vagan.exporting.hub import export_hub
from vagan.inference.attributor import Attributor

SCORE = {"ncc": {"mean": 0.93, "std": 0.04, "ci95": [0.91, 0.95], "n": 24}}


@pytest.fixture
def run(tmp_path):
    classes = ("healthy", "ill\n# not a heading <b>")
    save_random_generator(tmp_path / "run" / "model", classes=classes, rule="the last one")
    about = {
        "hash": "abc123",
        "source": "a study",
        "splits": {"train": ["Jane Doe", "John Doe"], "test": ["Jim Doe"]},
    }
    (tmp_path / "run" / "cohort.json").write_text(json.dumps(about), encoding="utf-8")
    return tmp_path / "run"


def test_the_exported_model_is_the_model(run, tmp_path, rng):
    out = export_hub(run, tmp_path / "hub")
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    images = torch.rand(2, 1, 21, 17, generator=rng) * 2 - 1
    here, there = (Attributor.load(folder).effect(images) for folder in (run, out))
    assert here.abs().max() > 0.01
    assert torch.equal(here, there)
    assert export_hub(out, tmp_path / "again").is_dir()  # a model folder on its own can be exported too


def test_the_card_tells_data_scores_limits_and_licence_and_no_names(run, tmp_path):
    (tmp_path / "results").mkdir()
    summary = {"methods": {"VA-GAN": SCORE}, "ceiling": {}}
    (tmp_path / "results" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    card = (export_hub(run, tmp_path / "hub", results=tmp_path / "results") / "README.md").read_text(encoding="utf-8")
    for part in (
        "a study: 2 train, 1 test images",
        "`abc123`",
        "the last one",
        "0.93 ± 0.04 [0.91, 0.95]",
        "no diagnosis",
    ):
        assert part in card, part
    assert "Doe" not in card
    assert "\n# not a heading" not in card
    assert "<b>" not in card


def test_what_is_no_result_or_somebody_elses_folder_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="must hold results"):
        export_hub(run, tmp_path / "hub", results=tmp_path)
    assert not (tmp_path / "hub").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds thesis\.txt"):
        export_hub(run, tmp_path / "mine")
