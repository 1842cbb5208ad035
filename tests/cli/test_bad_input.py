import json
import os

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import zarr

from models import save_random_generator
from tiny import TINY
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort


@pytest.fixture
def cohort(tmp_path):
    return make_synthetic_cohort(tmp_path / "cohort", n=60, size=(18, 17)).path


@pytest.fixture
def run(vagan, cohort, tmp_path):
    assert vagan("train", cohort, tmp_path / "run", *TINY)[0] == 0
    return tmp_path / "run"


def test_a_missing_folder(refused, tmp_path):
    assert "must be a folder" in refused("import", "folder", tmp_path / "nowhere", tmp_path / "out")


def test_an_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "one folder for each class, found none" in refused(
        "import", "folder", tmp_path / "empty", tmp_path / "out"
    )


def test_class_folders_without_images(refused, tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    assert "holds no image" in refused("import", "folder", tmp_path / "src", tmp_path / "out")


def test_one_class_only(refused, pictures, tmp_path):
    (pictures / "ill").rename(tmp_path / "elsewhere")
    assert "two classes are needed, found 1: healthy" in refused("import", "folder", pictures, tmp_path / "out")


def test_no_class_known_as_baseline(refused, pictures, tmp_path):
    (pictures / "healthy").rename(pictures / "fine")
    message = refused("import", "folder", pictures, tmp_path / "out")
    assert "which class is the baseline? found fine, ill; say it with --baseline NAME" in message


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_an_unreadable_or_truncated_image(refused, pictures, tmp_path, damage):
    path = pictures / "ill" / "04.png"
    path.write_bytes(path.read_bytes()[:120] if damage is None else damage)
    message = refused("import", "folder", pictures, tmp_path / "out")
    assert "04.png cannot be read as an image" in message
    assert "--drop-bad" in message


def test_a_bad_image_is_left_out_with_its_reason_when_asked(vagan, pictures, tmp_path):
    (pictures / "ill" / "04.png").write_bytes(b"")
    assert vagan("import", "folder", pictures, tmp_path / "out", "--drop-bad")[0] == 0
    assert len(Cohort(tmp_path / "out").manifest) == 59
    assert "04.png cannot be read" in pd.read_csv(tmp_path / "out" / "dropped.csv")["reason"][0]


def test_images_of_different_size(refused, pictures, tmp_path):
    imageio.imwrite(pictures / "ill" / "04.png", np.eye(30, 20, dtype=np.uint8))
    message = refused("import", "folder", pictures, tmp_path / "out")
    assert "(1, 21, 18)" in message
    assert "04.png has (1, 30, 20)" in message
    assert "give --size" in message


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (0.0, "constant")])
def test_nan_and_constant_images(refused, tmp_path, value, word):
    for name in ("healthy", "ill"):
        (tmp_path / "src" / name).mkdir(parents=True)
        for number in range(5):
            np.save(tmp_path / "src" / name / f"{number}.npy", np.random.default_rng(number).random((8, 9)))
    bad = np.zeros((8, 9))
    bad[0, 0] = value
    np.save(tmp_path / "src" / "ill" / "bad.npy", bad)
    message = refused("import", "folder", tmp_path / "src", tmp_path / "out")
    assert "bad.npy" in message
    assert word in message


def test_colour_without_a_choice(refused, pictures, tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (21, 18, 3), dtype=np.uint8)
    imageio.imwrite(pictures / "ill" / "04.png", colour)
    assert "choose --colour" in refused("import", "folder", pictures, tmp_path / "out")


def table(pictures, **columns):
    rows = pd.DataFrame(
        {"image": [f"{name}/{n:02d}.png" for name in ("healthy", "ill") for n in range(10)]}
        | {"class": ["healthy"] * 10 + ["ill"] * 10}
        | columns
    )
    rows.to_csv(pictures / "table.csv", index=False)
    return pictures / "table.csv"


def test_a_class_outside_the_ones_named(refused, pictures, tmp_path):
    source = table(pictures, **{"class": ["healthy"] * 10 + ["ill"] * 9 + ["il"]})
    message = refused("import", "csv", source, tmp_path / "out", "--classes", "healthy", "ill")
    assert "row 21: the class 'il' is none of healthy, ill" in message


def test_a_column_that_is_missing(refused, pictures, tmp_path):
    message = refused("import", "csv", table(pictures), tmp_path / "out", "--class-column", "clas")
    assert "needs a column 'clas'; did you mean 'class'?" in message


def test_a_file_of_the_table_that_is_missing(refused, pictures, tmp_path):
    source = table(pictures)
    (pictures / "ill" / "03.png").unlink()
    assert "03.png does not exist" in refused("import", "csv", source, tmp_path / "out")


def test_the_same_subject_in_two_parts(refused, pictures, tmp_path):
    splits = ["train"] * 5 + ["test"] * 3 + ["validation"] * 2
    source = table(pictures, subject=["s0", *range(4), "s0", *range(5, 19)], split=splits * 2)
    assert "'s0' is in train and test" in refused("import", "csv", source, tmp_path / "out")


def test_a_label_outside_the_manifests_classes(refused, cohort, tmp_path):
    manifest = pd.read_csv(cohort / "manifest.csv", dtype=str)
    manifest.loc[3, "label"] = "7"
    manifest.to_csv(cohort / "manifest.csv", index=False)
    assert "labels must be 0 for the baseline class, then 1, 2" in refused("train", cohort, tmp_path / "r")


def test_check_names_every_problem_at_once(vagan, cohort):
    store = zarr.open_group(cohort / "cohort.zarr", mode="r+")
    store["images"][2] = np.nan
    store["images"][5] = 0.25
    store["images"][7] = store["images"][9]
    store["images"][11] = store["images"][11] * 3
    code, out, error = vagan("check", cohort)
    assert code == 2
    assert "00002 holds NaN" in out
    assert "00005 is constant" in out
    assert "00007 and 00009 are the same image" in out
    assert "00011 leaves [-1, 1]" in out
    assert "4 problems found" in error


def test_check_opens_the_files_of_a_manifest(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "c")[0] == 0
    assert vagan("check", tmp_path / "c" / "manifest.csv")[0] == 0
    (pictures / "ill" / "03.png").unlink()
    (pictures / "ill" / "04.png").write_bytes(b"")
    code, out, _ = vagan("check", tmp_path / "c" / "manifest.csv")
    assert code == 2
    assert "03.png does not exist" in out
    assert "04.png cannot be read" in out


def test_an_unknown_verb_option_preset_and_key(refused, cohort, tmp_path):
    assert 'Did you mean "train"' in refused("trian", cohort, tmp_path / "r")
    assert "Did you mean --seed" in refused("synth", tmp_path / "s", "--sede", 3)
    assert "did you mean 'paper'" in refused("train", cohort, tmp_path / "r", "--preset", "papr")
    message = refused("train", cohort, tmp_path / "r", "--set", "loss.map_wieght=3")
    assert "unknown key 'loss.map_wieght'; did you mean 'loss.map_weight'?" in message
    assert "must read like training.seed=3" in refused("train", cohort, tmp_path / "r", "--set", "training.seed")
    assert "must read like 112x112" in refused("synth", tmp_path / "s", "--size", "112")


def test_a_run_folder_of_another_configuration(refused, cohort, run):
    message = refused("train", cohort, run, "--set", "training.seed=4")
    assert "another configuration: training.seed (0, 4)" in message


def test_a_run_folder_that_holds_something_else(refused, cohort, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work", encoding="utf-8")
    assert "holds other files" in refused("train", cohort, tmp_path / "thesis")
    assert "thesis holds chapter1.tex" in refused("synth", tmp_path / "thesis")
    assert "is a file" in refused("train", cohort, tmp_path / "thesis" / "chapter1.tex")


def test_a_folder_that_is_no_model(refused, cohort, tmp_path):
    np.save(tmp_path / "a.npy", np.eye(20))
    message = refused("attribute", cohort, tmp_path / "a.npy", "--out", tmp_path / "maps")
    assert "a model folder must hold config.json and model.safetensors" in message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_model(refused, run, tmp_path, name):
    path = run / "model" / name
    path.write_bytes(path.read_bytes()[:100])
    np.save(tmp_path / "a.npy", np.eye(20))
    message = refused("attribute", run, tmp_path / "a.npy", "--out", tmp_path / "maps")
    assert "is damaged or of another version" in message


def test_a_model_whose_facts_contradict_each_other(refused, tmp_path):
    facts = save_random_generator(tmp_path / "model") / "config.json"
    values = json.loads(facts.read_text(encoding="utf-8"))
    values["preparation"]["size"] = [3, 4, 5]
    facts.write_text(json.dumps(values), encoding="utf-8")
    np.save(tmp_path / "a.npy", np.eye(20))
    message = refused("attribute", tmp_path / "model", tmp_path / "a.npy", "--out", tmp_path / "maps")
    assert f"the model in {tmp_path / 'model'} is damaged" in message
    assert "the size must have 2 extents as the shape has, found (3, 4, 5)" in message


def test_a_damaged_checkpoint(refused, cohort, run):
    (run / "checkpoints" / "latest.pt").write_bytes(b"half")
    message = refused("train", cohort, run)
    assert "the checkpoint" in message
    assert "delete it to begin again" in message


@pytest.mark.parametrize("instead", ["empty", "noise", "folder", "link", "pipe"])
def test_a_runs_configuration_that_is_none(refused, cohort, run, tmp_path, instead):
    path = run / "config.yaml"
    path.unlink()
    {
        "empty": path.touch,
        "noise": lambda: path.write_bytes(b"\x80\xff"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(path),
        "pipe": lambda: os.mkfifo(path),
    }[instead]()
    for command in (("train", cohort, run), ("evaluate", cohort, run, "--out", tmp_path / "results")):
        message = refused(*command)
        assert str(run) in message
        assert "config.yaml" in message


def test_a_folder_that_is_no_cohort(refused, tmp_path):
    (tmp_path / "x").mkdir()
    assert "a cohort folder must hold manifest.csv and cohort.zarr" in refused(
        "train", tmp_path / "x", tmp_path / "r"
    )


def test_a_damaged_cohort(refused, cohort, tmp_path):
    (cohort / "cohort.zarr" / "zarr.json").write_text("{", encoding="utf-8")
    assert "is damaged" in refused("train", cohort, tmp_path / "r")


def test_too_few_images_for_the_batch(refused, cohort, tmp_path):
    message = refused("train", cohort, tmp_path / "r", "--set", "training.batch_size=500")
    assert "a batch needs 500 training images" in message


def test_images_that_are_too_small_for_the_critic(refused, tmp_path, pictures, vagan):
    assert vagan("import", "folder", pictures, tmp_path / "c", "--size", "12x20")[0] == 0
    assert "at least 16 pixels" in refused("train", tmp_path / "c", tmp_path / "r", *TINY)


def test_an_image_the_model_was_not_made_for(refused, run, tmp_path):
    np.save(tmp_path / "volume.npy", np.random.default_rng(0).random((9, 10, 11)))
    message = refused("attribute", run, tmp_path / "volume.npy", "--out", tmp_path / "maps")
    assert "is a 3-D image" in message


def test_nothing_is_written_when_one_of_the_images_is_bad(refused, run, tmp_path):
    np.save(tmp_path / "good.npy", np.eye(20))
    message = refused("attribute", run, tmp_path / "good.npy", tmp_path / "missing.npy", "--out", tmp_path / "maps")
    assert "missing.npy does not exist" in message


def test_results_that_are_not_there(refused, tmp_path):
    assert "vagan evaluate" in refused("report", tmp_path / "nowhere")


def test_a_study_is_not_mistaken_for_an_old_cohort(refused, pictures):
    source = table(pictures)
    source.rename(pictures / "manifest.csv")
    assert "holds healthy; choose another" in refused("import", "csv", pictures / "manifest.csv", pictures)


@pytest.mark.parametrize("column", ["class", "image", "subject"])
def test_an_empty_cell(refused, pictures, tmp_path, column):
    columns = {"subject": [f"s{n}" for n in range(20)], "class": ["healthy "] * 10 + [" ill"] * 10}
    rows = pd.read_csv(table(pictures, **columns))
    rows.loc[4, column] = " "
    rows.to_csv(pictures / "table.csv", index=False)
    message = refused("import", "csv", pictures / "table.csv", tmp_path / "out")
    assert f"row 6: the cell under '{column}' must not be empty" in message


def test_spaces_around_names_make_no_new_class(vagan, pictures, tmp_path):
    source = table(pictures, diagnosis=["healthy", "healthy "] * 5 + ["ill", " ill"] * 5)
    assert vagan("import", "csv", source, tmp_path / "out", "--class-column", "diagnosis")[0] == 0
    assert Cohort(tmp_path / "out").manifest.classes == ("healthy", "ill")


@pytest.mark.parametrize("limits", [("-inf", "inf"), (300, 400), (5, 5)])
def test_a_range_that_shows_nothing(refused, pictures, tmp_path, limits):
    message = refused("import", "folder", pictures, tmp_path / "out", "--range", *limits)
    assert "--range" in message


def test_a_split_without_training_images(refused, pictures, tmp_path):
    assert "in the split train, found none" in refused(
        "import", "csv", table(pictures, split="test"), tmp_path / "out"
    )


def test_lost_and_cut_image_data_are_named(vagan, refused, cohort, tmp_path):
    (shard,) = (path for path in (cohort / "cohort.zarr" / "images" / "c").rglob("*") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused("train", cohort, tmp_path / "r", *TINY)
    shard.unlink()
    code, out, _ = vagan("check", cohort)
    assert code == 2
    assert "there is no such file" in out
    assert "cohort.zarr/images/c/0/0/0/0 must hold images" in refused("train", cohort, tmp_path / "new", *TINY)
    assert not (tmp_path / "new").exists()


def test_check_reads_colour_as_the_import_did(vagan, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("healthy", "ill"):
        (tmp_path / "src" / name).mkdir(parents=True)
        for number in range(8):
            imageio.imwrite(
                tmp_path / "src" / name / f"{number}.png", rng.integers(0, 255, (18, 17, 3), dtype=np.uint8)
            )
    assert vagan("import", "folder", tmp_path / "src", tmp_path / "c", "--colour", "rgb")[0] == 0
    assert vagan("check", tmp_path / "c" / "manifest.csv")[0] == 0


def test_names_and_values_no_file_system_or_yaml_takes(refused, cohort, tmp_path):
    assert "File name too long" in refused("synth", tmp_path / ("x" * 300), "--images", 20, "--size", "16x16")
    assert "must be a YAML value" in refused("train", cohort, tmp_path / "r", "--set", "training.device=[1")


def test_scores_ask_for_what_the_runs_can_give(refused, cohort, run, tmp_path):
    out = ("--out", tmp_path / "results")
    assert "cam needs the run of a cam-classifier" in refused(
        "evaluate", cohort, run, *out, "--methods", "vagan", "cam"
    )
    assert "found a limit of 0" in refused("evaluate", cohort, run, *out, "--limit", 0)
    assert "name one or more run folders" in refused("evaluate", cohort, *out)
    assert "'subject' only tells which image it is" in refused("evaluate", cohort, run, *out, "--severity", "subject")
    assert "must be numbers, 'class' has" in refused("evaluate", cohort, run, *out, "--severity", "class")
    assert "'run' occurs twice" in refused("evaluate", cohort, run, tmp_path / "elsewhere" / "run", *out)


def test_controls_are_scored_without_any_run(vagan, cohort, tmp_path):
    code, out, _ = vagan("evaluate", cohort, "--out", tmp_path / "results", "--methods", "group-mean", "random")
    assert code == 0
    assert "group mean" in out


def test_a_model_is_not_scored_on_its_training_images(refused, cohort, run, tmp_path):
    manifest = pd.read_csv(cohort / "manifest.csv", dtype=str, keep_default_na=False)
    manifest["split"] = manifest["split"].replace({"train": "test", "test": "train"})
    manifest.to_csv(cohort / "manifest.csv", index=False)
    message = refused("evaluate", cohort, run, "--out", tmp_path / "results")
    assert "were in the training of" in message


def test_a_device_that_is_not_there(refused, run, cohort, tmp_path):
    np.save(tmp_path / "a.npy", np.eye(20))
    message = refused("attribute", run, tmp_path / "a.npy", "--out", tmp_path / "maps", "--device", "warp-drive")
    assert "the device 'warp-drive' cannot be used here" in message
    assert "choose cpu" in message
    assert "cannot be used" in refused("evaluate", cohort, run, "--out", tmp_path / "r", "--device", "warp-drive")


@pytest.mark.parametrize("name", ["cam", "integrated-gradients"])
def test_a_method_that_cannot_explain_the_model(refused, run, tmp_path, name):
    np.save(tmp_path / "a.npy", np.eye(20))
    message = refused("attribute", run, tmp_path / "a.npy", "--out", tmp_path / "maps", "--method", name)
    assert f"holds a map-generator: {name} cannot explain it; choose one of vagan, " in message


@pytest.mark.parametrize("amplitude", ["nan", "inf", "0"])
def test_an_amplitude_that_is_no_effect(refused, tmp_path, amplitude):
    message = refused("synth", tmp_path / "c", "--images", "20", "--size", "16x16", "--amplitude", amplitude)
    assert "the amplitude must be a finite number other than 0, found " in message


def test_trackers_and_formats_whose_package_is_missing(refused, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("vagan.errors.find_spec", lambda _: None)
    for name in ("wandb", "mlflow"):
        assert f"--tracker {name} needs {name}: pip install 'vagan[{name}]'" in refused(
            "train", cohort, tmp_path / "run", *TINY, "--tracker", name
        )
    model = save_random_generator(tmp_path / "model")
    for name in ("onnx", "monai"):
        assert f"pip install 'vagan[{name}]'" in refused("export", model, tmp_path / "out", "--format", name)
    assert "tracker" in refused("train", cohort, tmp_path / "run", *TINY, "--tracker", "wandbb")
