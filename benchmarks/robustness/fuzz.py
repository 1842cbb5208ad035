"""Random mutations of good files for the readers of the package: they refuse with its own errors, or read them."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from heads import ball
from models import save_random_generator
from robustness.kills import small_cohort
from vagan.data.image_file import ImageFile, read_image
from vagan.data.manifest import Manifest, find_defects
from vagan.data.sources.adni.tables import read_adni_csv
from vagan.data.splits import SubjectLists
from vagan.data.table import read_table
from vagan.errors import VaganError
from vagan.evaluation.results import ResultsFolder
from vagan.files import digest_of
from vagan.model.folder import load_model
from vagan.model.ood import OOD_FILE, MahalanobisOOD
from vagan.training.config import load_config

SECONDS = 120
MAX_SECONDS_PER_FILE = 10
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"-1,\n")
"""What a length in a header is set to."""

ESCAPES = frozenset(
    {
        *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
        *("socket.connect", "socket.getaddrinfo", "pickle.find_class"),
    }
)
"""Audit events of programs, connections and pickles."""

Reader = Callable[[Path], object]


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
                data[at : at + 4] = EXTREMES[int(rng.integers(len(EXTREMES)))]
            case _:
                data = data[: max(at, 1)]
    return bytes(data)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """What is done inside the block that no reader may do: see `ESCAPES`, and files written outside the folder."""
    found: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in ESCAPES or (writes and not str(arguments[0]).startswith(str(folder))):
            found.append(f"{event} {str(arguments)[:80]}")

    sys.addaudithook(hook)  # there is no way to remove it
    try:
        yield found
    finally:
        watching = False


def is_wrong(answer: object) -> bool:
    """Whether something was read that cannot be used, and is not refused."""
    if isinstance(answer, ImageFile):
        return bool(not np.isfinite(answer.array).all() or answer.array.min() == answer.array.max())
    if isinstance(answer, Manifest):
        return bool(find_defects(answer.table))
    weights = answer[0].parameters() if isinstance(answer, tuple) else ()
    return not all(bool(weight.isfinite().all()) for weight in weights)


def good_files(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """By kind: a file that can be read, and its reader."""
    grey = np.random.default_rng(0).integers(0, 255, (24, 20), dtype=np.uint8)
    array, affine = ball()
    found: dict[str, tuple[Path, Reader]] = {}
    for suffix in (".png", ".jpg", ".tif"):
        imageio.imwrite(folder / f"good{suffix}", grey)
    np.save(folder / "good.npy", grey)
    for suffix, kind in ((".nii", nib.Nifti1Image), (".nii.gz", nib.Nifti1Image), (".mgz", nib.MGHImage)):
        nib.save(kind(array, affine), folder / f"good{suffix}")
    for path in sorted(folder.glob("good*")):
        found[path.name.removeprefix("good")] = (path, read_image)

    texts: dict[str, tuple[str, str, Reader]] = {
        "table": ("table.csv", "image,class,subject\n" + "a.npy,ill,s1\nb.npy,healthy,s2\n" * 9, read_table),
        "ADNI table": ("adni.csv", "PHASE,PTID,VISCODE,DIAGNOSIS\n" + "ADNI1,002_S_0295,bl,1\n" * 9, read_adni_csv),
        "list of subjects": ("list.txt", "# test\nsub-01\n002_S_0295\n", SubjectLists.read),
        "preset": (
            "preset.yaml",
            yaml.safe_dump(load_config().model_dump(mode="json")),
            lambda p: load_config(str(p)),
        ),
    }
    for kind, (name, text, reader) in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        found[kind] = (folder / name, reader)

    model = save_random_generator(folder / "model")

    def load_with(path: Path) -> object:
        """The model with one of its files replaced."""
        mixed = folder / "mixed"
        mixed.mkdir(exist_ok=True)
        for other in (model / "config.json", model / "model.safetensors"):
            source = path if path.suffix == other.suffix else other
            (mixed / other.name).write_bytes(source.read_bytes())
        return load_model(mixed)

    statistics = {"means": torch.zeros(2, 3), "whitening": torch.eye(3), "validation": torch.tensor([1.0, 2.0])}
    save_file(statistics, folder / OOD_FILE)
    score = {"mean": 0.5, "std": 0.25, "ci95": [0.4, 0.6], "n": 2}
    (folder / "results").mkdir()
    (folder / "results" / "summary.json").write_text(json.dumps({"methods": {"vagan": {"ncc": score}}}))

    def load_in_folder(name: str, read: Reader) -> Reader:
        """Reader of a folder in which the file has this name."""

        def reader(path: Path) -> object:
            (folder / "alone").mkdir(exist_ok=True)
            (folder / "alone" / name).write_bytes(path.read_bytes())
            return read(folder / "alone")

        return reader

    return found | {
        "statistics of images": (folder / OOD_FILE, load_in_folder(OOD_FILE, MahalanobisOOD.load)),
        "scores": (
            folder / "results" / "summary.json",
            load_in_folder("summary.json", lambda path: ResultsFolder(path).read_summary()),
        ),
        "manifest": (small_cohort(folder) / "manifest.csv", Manifest.read),
        "model config": (model / "config.json", load_with),
        "model weights": (model / "model.safetensors", load_with),
    }


def fuzzing(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """As many mutations as the time allows, the same number of each kind of file."""
    rng = np.random.default_rng(0)
    work, others = folder / "work", folder / "others"
    work.mkdir()
    files = {kind: (path, path.read_bytes(), read) for kind, (path, read) in good_files(work).items()}
    for kind, (path, _, read) in files.items():
        assert not is_wrong(read(path)), kind  # and what is imported late is imported
    others.mkdir()
    for path, _, _ in files.values():
        (others / path.name).write_bytes(path.read_bytes())
    before = digest_of(others)
    tried: Counter[str] = Counter()
    refused = 0
    failures, wrong = dict[str, None](), list[str]()
    until = time.monotonic() + SECONDS * share
    with watched(folder) as escapes:
        while time.monotonic() < until:
            for kind, (good, content, read) in files.items():
                path = work / f"mutated{''.join(good.suffixes)}"
                path.write_bytes(mutated(content, rng))
                begin = time.process_time()
                try:
                    wrong += [f"{kind}: wrong answer"] * is_wrong(read(path))
                except VaganError:
                    refused += 1
                except Exception as error:  # anything else is a defect
                    failures[f"{kind}: {type(error).__name__} {str(error)[:100]}"] = None
                if (seconds := time.process_time() - begin) > MAX_SECONDS_PER_FILE:
                    failures[f"{kind}: a file took {seconds:.1f} s"] = None
                tried[kind] += 1
    lost = digest_of(others) != before
    return {
        "files": tried.total(),
        "of each kind": dict(tried),
        "refused with one of the package's errors": refused,
        "wrong answers": len(wrong),
        "data lost": int(lost),
        "escapes": len(escapes),
        "failures": [*failures, *dict.fromkeys(wrong + escapes), *(["files of others were changed"] if lost else [])],
    }
