"""Mutations of files for the readers of the package, for a bounded time, guided by coverage.

The mutations are drawn from a seed, and know where formats keep their lengths: four bytes become very large. A file
that reaches a line of the package that no file of its kind has reached is kept, to be mutated further.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import yaml

import vagan
from torture.bad_images import GOOD
from torture.bad_tables import PARTICIPANTS, rows, text_of
from torture.bad_volumes import good as volume
from torture.corpus import Workshop
from vagan.data.image_file import read_image
from vagan.data.manifest import Manifest, read_table
from vagan.data.sources.adni.tables import read_adni_csv
from vagan.data.sources.bids import _read_tsv
from vagan.data.splits import SubjectLists
from vagan.errors import VaganError
from vagan.model.folder import load_model
from vagan.training.config import load_config

SECONDS = 300
LONGEST_S = 10
PACKAGE = str(Path(vagan.__file__).parent)

Line = tuple[str, int]


class Reached:
    """The lines of the package that run inside the block."""

    def __init__(self) -> None:
        self.lines: set[Line] = set()

    def __enter__(self) -> "Reached":
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: object) -> Callable[[FrameType, str, object], Any] | None:
        return self._step if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _step(self, frame: FrameType, event: str, _: object) -> Callable[[FrameType, str, object], Any]:
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._step


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, removed, doubled or cut."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 17))
        match int(rng.integers(6)):
            case 0:
                data[at : at + 1] = rng.bytes(1)
            case 1:
                data[at : at + length] = rng.bytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"-1,\n"])
            case _:
                data = data[: max(at, 1)]
    return bytes(data)


def readers(workshop: Workshop) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """Name of a kind of file, its ending, a good one, and what reads it."""
    manifest = (workshop.cohort / "manifest.csv").read_bytes()
    config = workshop.model / "config.json"
    weights = (workshop.model / "model.safetensors").read_bytes()

    def model(path: Path) -> object:
        folder = path.parent / "model"
        folder.mkdir(exist_ok=True)
        which = path.suffix == ".json"
        (folder / "config.json").write_bytes(path.read_bytes() if which else config.read_bytes())
        (folder / "model.safetensors").write_bytes(weights if which else path.read_bytes())
        return load_model(folder)

    found: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
        suffix: (suffix, content, read_image) for suffix, content in GOOD.items()
    }
    found |= {suffix: (suffix, volume(suffix), read_image) for suffix in (".nii", ".nii.gz", ".mgz")}
    return found | {
        "table": (".csv", text_of(rows()).encode(), read_table),
        "manifest": (".csv", manifest, Manifest.read),
        "BIDS table": (".tsv", PARTICIPANTS.encode(), lambda path: _read_tsv(path, time.monotonic_ns())),
        "ADNI table": (".csv", text_of(rows()).encode(), read_adni_csv),
        "list of subjects": (".txt", b"# test\nsub-01\n002_S_0295\n", SubjectLists.read),
        "preset": (
            ".yaml",
            yaml.safe_dump(load_config().model_dump(mode="json")).encode(),
            lambda p: load_config(str(p)),
        ),
        "model facts": (".json", config.read_bytes(), model),
        "model weights": (".safetensors", weights, model),
    }


def fuzzing(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """As many mutations as the time allows, the same number of each kind of file.

    Every second one is of the good file, every other one of a file that was kept.
    """
    place = workshop.place("fuzz")
    rng = np.random.default_rng(0)
    kinds = readers(workshop)
    tried = dict.fromkeys(kinds, 0)
    kept = {kind: [content] for kind, (_, content, _) in kinds.items()}
    lines: dict[str, set[Line]] = {kind: set() for kind in kinds}
    refused, failures, longest = 0, {}, 0.0
    until = time.monotonic() + SECONDS * share
    while time.monotonic() < until:
        for kind, (suffix, _, read) in kinds.items():
            path, good = place / f"mutated{suffix}", tried[kind] % 2 == 0
            content = mutated(kept[kind][0 if good else int(rng.integers(len(kept[kind])))], rng)
            path.write_bytes(content)
            begin = time.process_time()
            with Reached() as reached:
                try:
                    read(path)
                except VaganError:
                    refused += 1
                except Exception as error:  # anything else is a defect
                    failures[f"{kind}: {type(error).__name__} {str(error)[:100]}"] = None
            longest = max(longest, time.process_time() - begin)
            tried[kind] += 1
            if not reached.lines <= lines[kind]:
                kept[kind].append(content)
            lines[kind] |= reached.lines
    if longest > LONGEST_S:
        failures[f"a file took {longest:.1f} s"] = None
    return {
        "files": sum(tried.values()),
        "kinds": ", ".join(kinds),
        "refused with one of the package's own errors": refused,
        "kept, since they reached new lines": sum(len(files) - 1 for files in kept.values()),
        "lines of the package reached": len(set().union(*lines.values())),
        "longest, s of a processor": longest,
        "failures": list(failures),
    }
