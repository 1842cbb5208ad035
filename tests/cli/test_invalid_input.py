"""Invalid input of each kind, at each command: exit code 2, one line that names what is wrong, nothing written."""

import ast
import io
import json
import os
import pickle
import re
import shlex
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from heads import save_head
from models import save_random_generator
from trainings import TINY
from vagan import errors
from vagan.cli.app import app
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort

Change = Callable[[Path], object]
"""Damages the files in a folder like `good`."""


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """Valid input for every command."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    make_synthetic_cohort(folder / "cohort", n=80, size=(18, 17))
    save_random_generator(folder / "model")
    save_random_generator(folder / "model-3d", num_spatial_dims=3, shape=(16, 17, 18))
    for name in ("healthy", "ill"):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            imageio.imwrite(folder / "pictures" / name / f"{number}.png", rng.integers(0, 255, (21, 18), np.uint8))
    imageio.imwrite(folder / "picture.png", rng.integers(0, 255, (24, 20), np.uint8))
    np.save(folder / "array.npy", rng.random((24, 20)))
    rows = [(f"pictures/{name}/{n}.png", name, f"{name}-{n}") for name in ("healthy", "ill") for n in range(10)]
    table = pd.DataFrame(rows, columns=["image", "class", "subject"])
    table["split"] = (["train"] * 6 + ["validation"] * 2 + ["test"] * 2) * 2
    table.to_csv(folder / "table.csv", index=False)
    save_head(folder / "scans" / "scan.nii")
    scans = folder / "bids" / "sub-01" / "anat", folder / "images" / "002_S_0002" / "MPRAGE" / "2008-03-12" / "I2"
    for place, name in zip(scans, ("sub-01_T1w.nii", "ADNI_002_S_0002_MR_I2.nii"), strict=True):
        save_head(place / name)
    (folder / "bids" / "participants.tsv").write_text("participant_id\tdiagnosis\nsub-01\tCN\n", encoding="utf-8")
    (folder / "tables").mkdir()
    (folder / "tables" / "DXSUM.csv").write_text("PHASE,PTID,VISCODE,DIAGNOSIS\nADNI1,002_S_0002,bl,1\n", "utf-8")
    (folder / "preset.yaml").write_text("training: {seed: 3}\n", encoding="utf-8")
    (folder / "subjects.txt").write_text("ill-1\n", encoding="utf-8")
    (folder / "empty").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter1.tex").write_text("years of work", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def good_run(good, tmp_path_factory) -> Path:
    from vagan.cli.app import main

    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit, match="0"):
        main(["train", str(good / "cohort"), str(run), *TINY])
    return run


@pytest.fixture
def assert_refused(good, request, tmp_path, vagan, monkeypatch):
    """Run a command on a damaged copy of the good input. What a command may leave begins with ``leaves``."""

    def run(command, *names, change: Change = lambda folder: None, leaves="no file"):
        place = tmp_path / "work"
        shutil.copytree(good, place)
        if "run" in shlex.split(command):
            shutil.copytree(request.getfixturevalue("good_run"), place / "run")
        monkeypatch.chdir(place)
        change(place)
        before = contents(tmp_path)
        code, out, error = vagan(*shlex.split(command))
        lines = [line for line in error.splitlines() if line.startswith("vagan: ")]
        assert code == 2, error
        assert len(lines) == 1, error
        assert "Traceback" not in error
        assert_remedies_exist(shlex.split(command), lines[0])
        for name in names:
            assert name in lines[0] + out
        changed = {path for path, content in contents(tmp_path).items() ^ before.items()}
        assert {path for path in changed if not path.startswith(f"work/{leaves}")} == set()

    return run


def assert_remedies_exist(command: list[str], message: str) -> None:
    """Whatever option a message names is one of the verb, or stands in a command that has it."""
    assert not re.search(r"`\w+`", message), "the library's name of a parameter"
    if "(see `vagan --help`)" in message:  # about the options that were given
        return
    for quoted in re.findall(r"`vagan ([^`]*)`", message):
        assert_options_exist(quoted)
    assert options_in(re.sub("`[^`]*`", "", message)) <= options_of(command) | options_in(" ".join(command))


def assert_options_exist(command: str) -> None:
    assert not options_in(command) or options_in(command) <= options_of(command.split()), command


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def options_of(command: list[str]) -> set[str]:
    _, apps, _ = app.parse_commands(command)
    return {name for one in apps[-1].assemble_argument_collection() for name in one.names}


def test_the_library_names_no_options():
    """Messages outside of the command line name options in commands alone, such as `vagan train --set`."""
    for path in Path(errors.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and path.parent.name != "cli":
                parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                text = "".join(part for part in parts if isinstance(part, str))
                assert not options_in(re.sub("`vagan [^`]*`", "", text)), (path, text)
                for quoted in re.findall(r"`vagan ([^`]*)`", text):
                    assert_options_exist(quoted)


def contents(folder: Path) -> dict[str, object]:
    """Bytes of every file, and what else there is; no pipe or device is opened."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_dir()
        for path in folder.rglob("*")
    }


OPTIONS = {
    "--frobnicate": "--frobnicate",
    "trian cohort new": "train",
    "synth": "--out",
    "synth new --sede 3": "--seed",
    "synth new --images 0": "0",
    "synth new --images 20 --size 99999999x99999999": "99999999",
    "synth new --images 20 --size 16x16 --amplitude nan": "amplitude",
    f"synth {'x' * 300} --images 20 --size 16x16": "xxx",
    "synth picture.png/new --images 20 --size 16x16": "picture.png/new",
    "synth /dev/null --images 20 --size 16x16": "/dev/null",
    "synth thesis": "chapter1.tex",
    "atrophy new --subjects 5": "5",
    "atrophy new --spacing-mm nan": "nan",
    "atrophy new --raw raw --raw-spacing-mm 0.5": "0.5",
    "atrophy new --base mni": "'mni'",
    "atrophy new --jobs -1": "--jobs",
    "atrophy thesis": "chapter1.tex",
    "atrophy new --raw thesis": "chapter1.tex",
    "check nowhere": "nowhere",
    "import excel a new": "excel",
    "import folder nowhere new": "nowhere",
    "import folder empty new": "empty",
    "import folder pictures pictures": "pictures",
    "import folder pictures new --range 3": "--range",
    "import folder pictures new --range -inf inf": "--range",
    "import folder pictures new --subject-pattern (": "--subject-pattern",
    "import folder pictures new --baseline helthy": "helthy",
    "import csv table.csv new --class-column clas": "'class'",
    "train empty new": "manifest.csv",
    "train cohort picture.png": "picture.png",
    "train cohort thesis": "thesis",
    "train cohort new --method magic": "--method",
    "train cohort new --method cam-classifier --with-classifier": "--method label-classifier",
    "train cohort new --preset papr": "'paper'",
    "train cohort new --set training.seed": "training.seed",
    "train cohort new --set training.device=[1": "YAML",
    "train cohort new --set generator.width=1099511627776": "1099511627776",
    "preprocess nowhere new": "nowhere",
    "preprocess empty new": "empty",
    "preprocess tables/DXSUM.csv new": "'image'",
    "preprocess scans/scan.nii new --spacing 0": "--spacing",
    "preprocess scans/scan.nii new --size 64x80x5000": "--size",
    "preprocess scans/scan.nii new --template none.nii.gz": "none.nii.gz",
    "preprocess scans/scan.nii new --jobs -2": "--jobs",
    "preprocess scans/scan.nii new --preset papper": "papper",
    "preprocess scans/scan.nii new person": "person",
    "attribute nowhere picture.png --out new": "nowhere",
    "attribute model --out new": "image",
    "attribute model picture.png": "--out",
    "attribute model picture.png --out thesis/chapter1.tex": "chapter1.tex",
    "attribute model picture.png picture.png --out new": "picture",
    "attribute model picture.png nowhere.png --out new": "nowhere.png",
    "attribute model scans/scan.nii --out new": "scan.nii",
    "attribute model picture.png --out new --method cam": "cam",
    "attribute model picture.png --out new --ensemble model": "model",
    "attribute model picture.png --out new --covariates age=70": "covariates",
    "attribute model picture.png --out new --device warp": "warp",
    "evaluate cohort --out new": "run",
    "evaluate cohort run --out new --limit 0": "0",
    "evaluate cohort run --out new --methods vagan cam": "cam-classifier",
    "evaluate cohort run elsewhere/run --out new": "'run'",
    "evaluate cohort run --out new --device warp": "warp",
    "evaluate cohort model-3d --out new": "model-3d",
    "report nowhere": "vagan evaluate",
    "export model thesis": "thesis",
    "export model new --results thesis": "results folder",
    "export model new --format pickle": "--format",
    "serve model --port 99999": "99999",
    "serve model --largest-mb 0": "--largest-mb",
    "attribute model picture.png --out new --insert": "bidirectional",
    "attribute model picture.png --out new --insert --masks thesis": "--masks excludes --insert",
    "attribute model picture.png --out new --predict-class --insert": "--predict-class excludes --insert",
    "attribute model picture.png --out new --predict-class --expected": "--expected excludes --predict-class",
    "attribute model picture.png --out new --reject-interval 0.1:0.2": "--reject-interval needs --predict-class",
    "attribute model picture.png --out new --masks model": "must be a results folder",
    "evaluate cohort run --out new --reject-interval 0.1:0.2": "--reject-interval needs --predicted-classes",
    "evaluate cohort run --out new --min-months 6": "--min-months needs --longitudinal",
    "atrophy new --raw-spacing-mm 1": "--raw-spacing-mm needs --raw",
    "check cohort/manifest.csv --confounders": "--confounders",
    "demo new --images 3": "3",
}
"""Command, and what its error must name."""


@pytest.mark.parametrize("command", OPTIONS)
def test_options(command, assert_refused):
    assert_refused(command, OPTIONS[command])


class CreatesAFile:
    """Unpickling it leaves ``unpickled`` in the working directory."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


CONTENTS = {"noise": np.random.default_rng(0).bytes(400), "pickle": pickle.dumps(CreatesAFile())}


def replace(content: bytes) -> Change:
    return lambda path: path.write_bytes(content)


def instead(make: Change) -> Change:
    return lambda path: (path.unlink(), make(path))


DAMAGES: dict[str, Change] = {name: replace(content) for name, content in CONTENTS.items()} | {
    "absent": Path.unlink,
    "folder": instead(Path.mkdir),
    "pipe": instead(os.mkfifo),
    "device": instead(lambda path: path.symlink_to("/dev/zero")),
}

FILES = {
    "picture.png": ("attribute model array.npy picture.png --out new", "picture.png"),
    "array.npy": ("attribute model array.npy --out new", "array.npy"),
    "pictures/ill/4.png": ("import csv table.csv new", "4.png"),
    "table.csv": ("import csv table.csv new", "table.csv"),
    "subjects.txt": ("import folder pictures new --test-subjects subjects.txt", "subjects"),
    "bids/participants.tsv": ("import bids bids new --class-column diagnosis --desc ''", ""),
    "tables/DXSUM.csv": ("import adni images tables new", ""),
    "preset.yaml": ("train cohort new --preset preset.yaml", "preset.yaml"),
    "cohort/manifest.csv": ("train cohort new", "cohort"),
    "cohort/cohort.zarr/zarr.json": ("train cohort new", "cohort"),
    "cohort/cohort.zarr/images/zarr.json": ("check cohort", "cohort"),
    "cohort/cohort.zarr/images/c/0/0/0/0": ("train cohort new", "cohort"),
    "model/config.json": ("attribute model picture.png --out new", "model"),
    "model/model.safetensors": ("attribute model picture.png --out new", "model"),
}
"""By file: the command that reads it, and what the error must name."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_files(file, damage, assert_refused):
    command, name = FILES[file]
    assert_refused(command, name, change=lambda folder: DAMAGES[damage](folder / file))


OF_A_RUN = [(name, "train cohort run") for name in ("config.yaml", "cohort.json", "checkpoints/latest.pt")]


@pytest.mark.parametrize("damage", ["noise", "pickle", "folder", "pipe"])
@pytest.mark.parametrize(("file", "command"), [*OF_A_RUN, ("config.yaml", "evaluate cohort run --out new")])
def test_files_of_a_run(file, command, damage, assert_refused):
    assert_refused(command, "run", change=lambda folder: DAMAGES[damage](folder / "run" / file), leaves="run/l")


def cells(column: str, value: str, *rows: int) -> Change:
    """The table with another value in some rows, or in all."""

    def change(folder: Path) -> None:
        table = pd.read_csv(folder / "table.csv", dtype=str)
        table.loc[list(rows) or slice(None), column] = value
        table.to_csv(folder / "table.csv", index=False)

    return change


def text(edit: Callable[[str], str | bytes], file="table.csv") -> Change:
    def change(folder: Path) -> None:
        new = edit((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_bytes(new if isinstance(new, bytes) else new.encode())

    return change


TABLES = {
    "no image column": (text(lambda t: t.replace("image", "picture", 1)), "image"),
    "one class": (cells("class", "ill"), "ill"),
    "no baseline": (cells("class", "fine", *range(10)), "--baseline"),
    "empty image": (cells("image", "", 4), "row 6"),
    "empty subject": (cells("subject", "", 4), "row 6"),
    "unknown split": (cells("split", "holdout", 2), "holdout"),
    "no training images": (cells("split", "test"), "train"),
    "subject in two splits": (cells("subject", "anna", 0, 9), "anna"),
    "id twice": (cells("id", "x"), "'x'"),
    "missing file": (cells("image", "nowhere.png", 3), "nowhere.png"),
    "file outside": (cells("image", "/etc/passwd", 3), "passwd"),
    "image of another size": (cells("image", "picture.png", 3), "--size"),
    "formula": (cells("subject", "=1+1", 3), "=1+1"),
    "formula after a sign": (cells("class", "+cmd|' /C calc'!A0", *range(10, 20)), "+cmd"),
    "control character": (cells("subject", "a\x1b[2J", 3), "formula"),
    "header alone": (text(lambda t: t.splitlines()[0]), "table.csv"),
    "unclosed quote": (text(lambda t: t.replace("ill", '"ill', 1)), "ill/0.png"),
    "cell too many": (text(lambda t: t + "a,b,c,d,e,f\n"), "table.csv"),
    "column twice": (text(lambda t: t.replace("image,class", "image,image")), "once"),
    "nothing": (text(lambda t: ""), "table.csv"),
    "a line without end": (text(lambda t: "x" * (2**17 + 1) + "\n1\n"), "table.csv"),
    "no text": (text(lambda t: b"a,b\n\x00\xff\n1,2,3"), "table.csv"),
}


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


PRESETS = {
    "10^30 words": ALIASES,
    "alias of itself": "training: &t {seed: *t}\n",
    "deep": "training: " + "[" * 3000 + "]" * 3000,
    "code": "training: !!python/object/apply:os.mkdir [unpickled]\n",
    "5000 digits": f"training: {{seed: {'9' * 5000}}}\n",
    "list": "- a\n- b\n",
    "word": "training: fast\n",
    "unknown key": "training: {sead: 3}\n",
    "half": "training: {batch_size: 2.5}\n",
    "infinite": "loss: {map_weight: .inf}\n",
}
PRESETS = {name: text(lambda _, content=content: content, "preset.yaml") for name, content in PRESETS.items()}


def weights(make: Callable[[io.BytesIO], object]) -> Change:
    buffer = io.BytesIO()
    make(buffer)
    return lambda folder: (folder / "model" / "model.safetensors").write_bytes(buffer.getvalue())


def config(key: str, value: str) -> Change:
    return text(lambda t: t.replace(f'"{key}":', f'"{key}": {value}, "other":'), "model/config.json")


MODELS = {
    "endless header": weights(lambda buffer: buffer.write(struct.pack("<Q", 2**60) + b"{}")),
    "pickle": weights(lambda buffer: torch.save({"first.weight": CreatesAFile()}, buffer)),
    "kind": config("kind", '"diffusion"'),
    "axes": config("num_spatial_dims", "3"),
    "channels": config("channels", str(2**40)),
    "width": config("width", str(2**62)),
    "one class": config("classes", '["healthy"]'),
    "size": config("size", "[3, 4, 5]"),
    "deep": config("pipeline", "[" * 100_000),
}


def array_metadata(**values: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "cohort" / "cohort.zarr" / "images" / "zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

    return change


COHORTS = {
    "2^60 images": array_metadata(shape=[2**60, 1, 18, 17]),
    "fewer images": array_metadata(shape=[79, 1, 18, 17]),
    "negative": array_metadata(shape=[80, 1, -18, 17]),
    "text": array_metadata(data_type="string"),
    "no codec": array_metadata(codecs=[]),
    "version": array_metadata(zarr_format=4),
    "unknown label": text(lambda t: t.replace(",0,", ",7,", 1), "cohort/manifest.csv"),
}


def results(content: bytes) -> Change:
    return lambda folder: (folder / "empty" / "summary.json").write_bytes(content)


def colour(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (21, 18, 3), "u1")
    imageio.imwrite(folder / "pictures" / "ill" / "4.png", pixels)


def swap(text_of_table: str) -> str:
    return text_of_table.replace("train", "x").replace("test", "train").replace("x", "test")


def every(name: str, command: str, word: str, changes: dict[str, Change]) -> dict[str, tuple[str, str, Change]]:
    return {f"{name}: {case}": (command, word, change) for case, change in changes.items()}


SCAN = {name: lambda folder, damage=damage: damage(folder / "scans" / "scan.nii") for name, damage in DAMAGES.items()}
CASES: dict[str, tuple[str, str, Change]] = {
    "one class folder": ("import folder pictures new", "healthy", lambda f: shutil.rmtree(f / "pictures" / "ill")),
    "colour": ("import folder pictures new", "--colour", colour),
    "scored on training images": ("evaluate cohort run --out new", "run", text(swap, "cohort/manifest.csv")),
    "results: absent": ("report empty", "summary.json", lambda folder: None),
    "results: list": ("report empty", "summary.json", results(b"[1, 2]")),
    "results: deep": ("report empty", "summary.json", results(b"[" * 9000 + b"]" * 9000)),
    "results: pickle": ("report empty", "summary.json", results(CONTENTS["pickle"])),
    **every("volume", "preprocess scans/scan.nii new --strip none --jobs 1", "scan.nii", {"noise": SCAN["noise"]}),
    **every("scan", "attribute model-3d scans/scan.nii --out new", "scan", SCAN),
    **{f"table: {name}": ("import csv table.csv new", word, c) for name, (c, word) in TABLES.items()},
    **every("preset", "train cohort new --preset preset.yaml", "preset.yaml", PRESETS),
    **every("model", "attribute model picture.png --out new", "model", MODELS),
    **every("cohort", "train cohort new", "cohort", COHORTS),
    **every("check", "check cohort", "cohort", COHORTS),
}
"""Command, what its error must name, and the damage."""


@pytest.mark.parametrize("case", CASES)
def test_contents(case, assert_refused):
    command, name, change = CASES[case]
    assert_refused(command, name, change=change, leaves="new" if "preprocess" in command else "no file")


@pytest.mark.parametrize("name", ["onnx", "monai"])
def test_a_missing_package_is_named_by_its_extra(name, assert_refused, monkeypatch):
    monkeypatch.setattr("vagan.errors.find_spec", lambda _: None)
    assert_refused(f"export model new --format {name}", f"vagan[{name}]")


def test_check_lists_every_problem(vagan, good, tmp_path):
    cohort = shutil.copytree(good / "cohort", tmp_path / "cohort")
    images = zarr.open_group(cohort / "cohort.zarr", mode="r+")["images"]
    images[2], images[5], images[7], images[11] = np.nan, 0.25, images[9], images[11] * 3
    code, out, _ = vagan("check", cohort)
    assert code == 2
    for case in ("00002", "00005", "00007", "00009", "00011"):
        assert case in out


def test_check_opens_the_files_of_a_manifest(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "c")[0] == 0
    assert vagan("check", tmp_path / "c" / "manifest.csv")[0] == 0
    (pictures / "ill" / "03.png").unlink()
    (pictures / "ill" / "04.png").write_bytes(b"")
    code, out, _ = vagan("check", tmp_path / "c" / "manifest.csv")
    assert code == 2
    assert "03.png" in out
    assert "04.png" in out


def test_bad_images_are_left_out_when_asked(vagan, pictures, tmp_path):
    (pictures / "ill" / "04.png").write_bytes(b"")
    assert vagan("import", "folder", pictures, tmp_path / "out", "--drop-bad")[0] == 0
    assert len(Cohort(tmp_path / "out").manifest) == 59
    assert "04.png" in pd.read_csv(tmp_path / "out" / "dropped.csv")["reason"][0]
