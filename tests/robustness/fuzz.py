"""Random mutations of good files for the readers of the package: they refuse with its own errors, or read them."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import yaml

from heads import ball
from models import save_random_generator
from robustness.kills import small_cohort
from vagan.data.image_file import read_image
from vagan.data.manifest import Manifest
from vagan.data.sources.adni.tables import read_adni_csv
from vagan.data.splits import SubjectLists
from vagan.data.table import read_table
from vagan.errors import VaganError
from vagan.model.folder import load_model
from vagan.training.config import load_config

SECONDS = 120
MAX_SECONDS_PER_FILE = 10
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"-1,\n")
"""What a length in a header is set to."""

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

    return found | {
        "manifest": (small_cohort(folder) / "manifest.csv", Manifest.read),
        "model config": (model / "config.json", load_with),
        "model weights": (model / "model.safetensors", load_with),
    }


def fuzzing(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """As many mutations as the time allows, the same number of each kind of file."""
    rng = np.random.default_rng(0)
    files = {kind: (path, path.read_bytes(), read) for kind, (path, read) in good_files(folder).items()}
    counts: Counter[str] = Counter()
    failures: dict[str, None] = {}
    until = time.monotonic() + SECONDS * share
    while time.monotonic() < until:
        for kind, (good, content, read) in files.items():
            path = folder / f"mutated{''.join(good.suffixes)}"
            path.write_bytes(mutated(content, rng))
            begin = time.process_time()
            try:
                read(path)
            except VaganError:
                counts["refused"] += 1
            except Exception as error:  # anything else is a defect
                failures[f"{kind}: {type(error).__name__} {str(error)[:100]}"] = None
            if (seconds := time.process_time() - begin) > MAX_SECONDS_PER_FILE:
                failures[f"{kind}: a file took {seconds:.1f} s"] = None
            counts["files"] += 1
    return {
        "files": counts["files"],
        "kinds": ", ".join(files),
        "refused with one of the package's errors": counts["refused"],
        "failures": list(failures),
    }
