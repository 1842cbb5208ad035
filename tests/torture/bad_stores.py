"""Cohort folders: Zarr metadata, chunks and tables that do not hold what they should; and folders in use or taken."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Pickle

from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED, pickled

Edit = Callable[[dict[str, Any]], object]


def sets(*keys: str | int, to: Any) -> Edit:
    """Change a value deep inside."""

    def edit(values: Any) -> None:
        *parents, last = keys
        for key in parents:
            values = values[key]
        values[last] = to

    return edit


def drops(*keys: str) -> Edit:
    def edit(values: Any) -> None:
        *parents, last = keys
        for key in parents:
            values = values[key]
        del values[last]

    return edit


GRID = ("chunk_grid", "configuration", "chunk_shape")

ARRAY: dict[str, Edit] = {
    "shape of 2^60 images": sets("shape", to=[2**60, 1, 18, 17]),
    "pixels of a petabyte": sets("shape", to=[40, 1, 2**25, 2**25]),
    "pixels of a terabyte, one chunk each": lambda v: (
        sets("shape", to=[40, 1, 2**19, 2**19])(v),
        sets(*GRID, to=[1, 1, 2**19, 2**19])(v),
    ),
    "fewer images": sets("shape", to=[39, 1, 18, 17]),
    "two axes": lambda v: (sets("shape", to=[40, 17])(v), sets(*GRID, to=[1, 17])(v)),
    "one axis": lambda v: (sets("shape", to=[40])(v), sets(*GRID, to=[1])(v)),
    "six axes": lambda v: (sets("shape", to=[40, 1, 3, 3, 2, 17])(v), sets(*GRID, to=[1, 1, 3, 3, 2, 17])(v)),
    "negative extent": sets("shape", to=[40, 1, -18, 17]),
    "no pixels": sets("shape", to=[40, 1, 0, 17]),
    "no channel": sets("shape", to=[40, 0, 18, 17]),
    "shape of words": sets("shape", to=["a", "b", "c", "d"]),
    "chunks of 2^40": sets(*GRID, to=[2**40, 1, 18, 17]),
    "chunks of 0": sets(*GRID, to=[0, 1, 18, 17]),
    "chunks of other axes": sets(*GRID, to=[1, 18, 17]),
    "numbers of text": sets("data_type", to="string"),
    "complex numbers": sets("data_type", to="complex64"),
    "unknown numbers": sets("data_type", to="float128x"),
    "unknown codec": sets("codecs", 0, "name", to="rot13"),
    "no codec": sets("codecs", to=[]),
    "no shape": drops("shape"),
    "another version": sets("zarr_format", to=4),
    "a group where the images should be": lambda v: (v.clear(), v.update(zarr_format=3, node_type="group")),
}

FACTS = ("attributes",)

GROUP: dict[str, Edit] = {
    "no facts": sets("attributes", to={}),
    "facts of words": sets("attributes", to="words"),
    "unknown fact": sets("attributes", "color", to="red"),
    "no preparation": drops("attributes", "preparation"),
    "preparation of words": sets("attributes", "preparation", to="fast"),
    "intensity of NaN": sets("attributes", "preparation", "low", to=float("nan")),
    "no range of intensity": lambda v: (
        sets("attributes", "preparation", "low", to=3.0)(v),
        sets("attributes", "preparation", "high", to=3.0)(v),
    ),
    "size of other axes": sets("attributes", "preparation", "size", to=[18, 17, 16]),
    "size of a terabyte": sets("attributes", "preparation", "size", to=[2**20, 2**20]),
    "affine of three numbers": sets("attributes", "affine", to=[[1, 2, 3]]),
    "affine of NaN": sets("attributes", "affine", to=[[float("nan")] * 4] * 4),
    "negative spacing": sets("attributes", "spacing_mm", to=[-1.0, 1.0]),
    "pipeline of words": sets("attributes", "pipeline", to={"steps": "all"}),
    "an array where the group should be": sets("node_type", to="array"),
}

MANIFEST: dict[str, tuple[Callable[[str], str], str]] = {
    "a row less": (lambda text: text[: text.rstrip().rindex("\n") + 1], "manifest.csv"),
    "a row more": (lambda text: text + text.splitlines()[-1].replace("00039", "x") + "\n", "manifest.csv"),
    "an id twice": (lambda text: text.replace("00003", "00002"), "'00002'"),
    "a label of words": (lambda text: text.replace(",1,", ",one,", 1), "manifest.csv"),
    "a label of 1e999": (lambda text: text.replace(",1,", ",1e999,", 1), "manifest.csv"),
    "a label of 0.5": (lambda text: text.replace(",1,", ",0.5,", 1), "manifest.csv"),
    "no label": (lambda text: text.replace("label", "lable", 1), "label"),
    "no training images": (lambda text: text.replace("train", "test"), "train"),
    "no validation images": (lambda text: text.replace("validation", "test"), "validation"),
    "an id that leads out": (lambda text: text.replace("00003", "=../../x"), "=../../x"),
}


def train(cohort: Path, place: Path) -> Command:
    return ["train", cohort, place / "run", "--set", "training.batch_size=2", "training.generator_updates=1"]


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(6)

    def edited(part: str, edit: Edit, verb: Callable[[Path, Path], Command] = train):
        def make(workshop: Workshop, place: Path) -> Command:
            cohort = workshop.copy("cohort", place)
            path = cohort / "cohort.zarr" / part / "zarr.json"
            values = json.loads(path.read_text(encoding="utf-8"))
            edit(values)
            path.write_text(json.dumps(values), encoding="utf-8")
            return verb(cohort, place)

        return make

    def written(part: str, change: Callable[[Path], object], verb: Callable[[Path, Path], Command] = train):
        def make(workshop: Workshop, place: Path) -> Command:
            cohort = workshop.copy("cohort", place)
            change(next(path for path in sorted((cohort / part).rglob("*")) if path.is_file()) if part.endswith("c")
                   else cohort / part)  # fmt: skip
            return verb(cohort, place)

        return make

    check = lambda cohort, place: ["check", cohort]  # noqa: E731
    for name, edit in ARRAY.items():
        yield Defect("Zarr", f"images: {name}, train", edited("images", edit), "cohort")
        yield Defect("Zarr", f"images: {name}, check", edited("images", edit, check), "cohort")
    for name, edit in GROUP.items():
        yield Defect("Zarr", f"{name}, train", edited("", edit), "cohort")
    for name, damage in DAMAGES.items():
        change = lambda path, damage=damage: path.write_bytes(damage(path.read_bytes(), rng))  # noqa: E731
        for part in ("cohort.zarr/zarr.json", "cohort.zarr/images/zarr.json"):
            yield Defect("Zarr", f"{part} {name}, train", written(part, change), "cohort")
        yield Defect("Zarr", f"pixels {name}, train", written("cohort.zarr/images/c", change), "cohort")
        yield Defect("Zarr", f"pixels {name}, check", written("cohort.zarr/images/c", change, check), "cohort")
    for name, misplace in MISPLACED.items():
        for part in ("cohort.zarr/zarr.json", "cohort.zarr/images/zarr.json", "manifest.csv"):
            yield Defect("Zarr", f"{part} {name}, train", written(part, misplace), "cohort")
        yield Defect("Zarr", f"pixels {name}, train", written("cohort.zarr/images/c", misplace), "cohort")
    for name, (change, names) in MANIFEST.items():
        write = lambda path, change=change: path.write_text(change(path.read_text("utf-8")), "utf-8")  # noqa: E731
        yield Defect("cohort", f"{name}, train", written("manifest.csv", write), names)
    yield Defect("Zarr", "an older format whose codec unpickles, train", _unpickling, "cohort")
    yield Defect(
        "cohort", "of pictures for a model of volumes, evaluate",
        lambda w, p: ["evaluate", w.imported, w.model_3d, "--out", p / "r"], "model_3d",
    )  # fmt: skip


def _unpickling(workshop: Workshop, place: Path) -> Command:
    """Zarr's second format has a codec that unpickles."""
    cohort = workshop.copy("cohort", place)
    attributes = json.loads((cohort / "cohort.zarr" / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    import shutil

    shutil.rmtree(cohort / "cohort.zarr")
    (cohort / "cohort.zarr" / "images").mkdir(parents=True)
    (cohort / "cohort.zarr" / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
    (cohort / "cohort.zarr" / ".zattrs").write_text(json.dumps(attributes), encoding="utf-8")
    about = {
        "zarr_format": 2, "shape": [40, 1, 18, 17], "chunks": [1, 1, 18, 17], "dtype": "|O", "fill_value": 0,
        "order": "C", "compressor": None, "filters": [Pickle().get_config()],
    }  # fmt: skip
    (cohort / "cohort.zarr" / "images" / ".zarray").write_text(json.dumps(about), encoding="utf-8")
    for number in range(40):
        (cohort / "cohort.zarr" / "images" / f"{number}.0.0.0").write_bytes(pickled(place / "mark"))
    assert zarr.__version__ >= "3"
    return train(cohort, place)
