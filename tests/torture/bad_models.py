"""Model folders, run folders and checkpoints: damaged, of another kind, and such that carry code."""

# ruff: noqa: PLW0108  (tables of cases, a line each)

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from heads import save_head
from torture.bad_images import grey
from torture.bad_stores import drops, sets
from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED, Bomb, pickled, zip_of

FACTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another kind": sets("kind", to="diffusion"),
    "a classifier": sets("kind", to="classifier"),
    "four axes": sets("num_spatial_dims", to=4),
    "0 axes": sets("num_spatial_dims", to=0),
    "an axis more": sets("num_spatial_dims", to=3),
    "a channel more": sets("channels", to=2),
    "2^40 channels": sets("channels", to=2**40),
    "0 channels": sets("channels", to=0),
    "width 2^20": sets("width", to=2**20),
    "width 2^62": sets("width", to=2**62),
    "width -1": sets("width", to=-1),
    "width of words": sets("width", to="wide"),
    "shape of nothing": sets("shape", to=[]),
    "classifier for a shape of 2^40": lambda v: (
        sets("kind", to="classifier")(v),
        sets("shape", to=[2**40, 2**40])(v),
    ),
    "classifier for a negative shape": lambda v: (sets("kind", to="classifier")(v), sets("shape", to=[-24, 20])(v)),
    "no class": sets("classes", to=[]),
    "one class": sets("classes", to=["healthy"]),
    "a class twice": sets("classes", to=["healthy", "healthy"]),
    "a million classes": sets("classes", to=[f"c{n}" for n in range(1_000_000)]),
    "no preparation": drops("preparation"),
    "no range of intensity": lambda v: sets("preparation", "high", to=0.0)(v),
    "range of NaN": lambda v: sets("preparation", "high", to=float("nan"))(v),
    "range of infinity": lambda v: sets("preparation", "high", to=float("inf"))(v),
    "size of three axes": sets("preparation", "size", to=[3, 4, 5]),
    "size 0": sets("preparation", "size", to=[0, 20]),
    "size of a terabyte": sets("preparation", "size", to=[2**20, 2**20]),
    "unknown output": sets("output", to="multiply"),
    "another output": sets("output", to="warp"),
    "unknown fact": sets("license", to="mine"),
    "pipeline of words": sets("pipeline", to={"steps": ["all"]}),
}

COMMAND = {"steps": [{"step": "strip-skull", "method": "command: touch /tmp/vagan-torture-mark {input} {mask}"}]}


def attribute(model: Path, place: Path) -> Command:
    np.save(place / "a.npy", grey())
    return ["attribute", model, place / "a.npy", "--out", place / "maps"]


def _header(length: int, text: bytes) -> bytes:
    return struct.pack("<Q", length) + text


def _pickled_checkpoint(path: Path) -> None:
    torch.save({"networks": Bomb(path.with_name("mark"))}, path)


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "header of 2^60 bytes": lambda path: path.write_bytes(_header(2**60, b"{}")),
    "header that never ends": lambda path: path.write_bytes(_header(2**63, b"{" * 100)),
    "tensor of a petabyte": lambda path: path.write_bytes(
        _header(87, b'{"first.weight":{"dtype":"F32","shape":[1099511627776,256],"data_offsets":[0,4]}}'.ljust(87))
        + bytes(4)
    ),
    "header nested 5000 deep": lambda path: path.write_bytes(_header(10_000, b"[" * 5000 + b"]" * 5000)),
    "pickled weights": lambda path: path.write_bytes(pickled(path.with_name("mark"))),
    "weights of torch.save": lambda path: torch.save({"a": torch.ones(2)}, path),
    "weights of torch.save with code": _pickled_checkpoint,
    "scripted module": lambda path: torch.jit.save(torch.jit.script(torch.nn.ReLU()), path),
    "archive": lambda path: path.write_bytes(zip_of(b"weights")),
    "a tensor less": lambda path: _retensored(path, lambda tensors: tensors.pop("last.weight")),
    "a tensor more": lambda path: _retensored(path, lambda tensors: tensors.update(more=torch.ones(3))),
    "a tensor of another shape": lambda path: _retensored(path, lambda t: t.update({"last.weight": torch.ones(3)})),
    "weights of NaN": lambda path: _retensored(path, lambda t: t["last.weight"].fill_(float("nan"))),
    "weights of infinity": lambda path: _retensored(path, lambda t: t["last.weight"].fill_(float("inf"))),
    "other names": lambda path: _retensored(path, lambda t: [t.update({f"x{k}": t.pop(k)}) for k in list(t)]),
}


def _retensored(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(7)
    files = {"config.json": "model/config.json", "weights": "model/model.safetensors"}

    def damaged(part: str, change: Callable[[Path], object]) -> Callable[[Workshop, Path], Command]:
        def make(workshop: Workshop, place: Path) -> Command:
            model = workshop.copy("model", place)
            change(place / part)
            return attribute(model, place)

        return make

    def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            values = json.loads(path.read_text(encoding="utf-8"))
            change(values)
            path.write_text(json.dumps(values), encoding="utf-8")

        return write

    for label, part in files.items():
        for name, damage in DAMAGES.items():
            change = lambda path, damage=damage: path.write_bytes(damage(path.read_bytes(), rng))  # noqa: E731
            yield Defect("model", f"{label} {name}", damaged(part, change), "model")
        for name, misplace in MISPLACED.items():
            yield Defect("model", f"{label} {name}", damaged(part, misplace), "model")
    for name, change in FACTS.items():
        yield Defect("model", name, damaged(files["config.json"], edit(change)), "model")
    for name, change in WEIGHTS.items():
        yield Defect("safetensors", name, damaged(files["weights"], change), "model")
    yield Defect("model", "preprocessing that runs a program", _running_a_program, "runs a program")
    yield Defect("model", "a scripted module for a folder", _a_file(b"script"), "m.pt")
    yield from _runs(rng)


def _running_a_program(workshop: Workshop, place: Path) -> Command:
    model = workshop.copy("model_3d", place)
    facts = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(facts | {"pipeline": COMMAND}), encoding="utf-8")
    return ["attribute", model, save_head(place / "s1.nii"), "--out", place / "maps"]


def _a_file(_: bytes) -> Callable[[Workshop, Path], Command]:
    def make(_: Workshop, place: Path) -> Command:
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), place / "m.pt")
        return attribute(place / "m.pt", place)

    return make


RUN_FILES = {
    "config.yaml": "config.yaml",
    "cohort.json": "cohort.json",
    "checkpoint": "checkpoints/latest.pt",
    "metrics.csv": "metrics.csv",
}

CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "that carries code": _pickled_checkpoint,
    "of a scripted module": lambda path: torch.jit.save(torch.jit.script(torch.nn.ReLU()), path),
    "of nothing": lambda path: torch.save({}, path),
    "of a list": lambda path: torch.save([1, 2], path),
    "of another network": lambda path: _recheckpointed(path, lambda c: c["networks"].update(generator={})),
    "from the future": lambda path: _recheckpointed(path, lambda c: c.update(updates=10**9)),
    "of words": lambda path: _recheckpointed(path, lambda c: c.update(updates="many")),
    "of negative length": lambda path: _recheckpointed(path, lambda c: c.update(updates=-3)),
    "of NaN": lambda path: _recheckpointed(
        path, lambda c: [t.fill_(float("nan")) for t in c["networks"]["critic"].values()]
    ),
}


def _recheckpointed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def _runs(rng: np.random.Generator) -> Iterator[Defect]:
    def damaged(part: str, change: Callable[[Path], object], *, verb: str = "train"):
        def make(workshop: Workshop, place: Path) -> Command:
            run = workshop.copy("stopped_run", place)
            change(run / part)
            if verb == "evaluate":
                return ["evaluate", workshop.cohort, run, "--out", place / "results", "--limit", 2]
            return ["train", workshop.cohort, run]

        return make

    for label, part in RUN_FILES.items():
        for name, damage in DAMAGES.items():
            if label == "metrics.csv" and name in ("cut in half", "text"):  # a shorter table; a table of other things
                continue
            change = lambda path, damage=damage: path.write_bytes(damage(path.read_bytes(), rng))  # noqa: E731
            yield Defect("run", f"{label} {name}", damaged(part, change), part.split("/")[-1], leaves="stopped_run/l")
        for name in ("a folder", "a link to itself", "a named pipe"):
            yield Defect(
                "run", f"{label} {name}", damaged(part, MISPLACED[name]), "stopped_run", leaves="stopped_run/l"
            )
    for name, change in CHECKPOINTS.items():
        yield Defect(
            "run", f"checkpoint {name}", damaged("checkpoints/latest.pt", change), "latest.pt", leaves="stopped_run/l"
        )
    for name in ("empty", "noise", "web page"):
        change = lambda path, damage=DAMAGES[name]: path.write_bytes(damage(path.read_bytes(), rng))  # noqa: E731
        for part in ("config.yaml", "cohort.json", "metrics.csv"):
            made = damaged(part, change, verb="evaluate")
            yield Defect("run", f"{part} {name}, evaluate", made, part)
