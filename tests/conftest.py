"""Shared fixtures. Shapes are asymmetric, so that a mistaken axis shows."""

import os

# before torch is imported: on a shared machine one thread per process is faster than two that fight
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

from models import save_random_generator, unchecked_shapes
from tables import with_columns
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort


def pytest_configure(config: pytest.Config) -> None:
    """On every machine the same tests, on the processor; those of a GPU are asked for by ``-m gpu``."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0x5EED)


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Forty 2-D images of 24x20 with both subtypes in every part."""
    return make_synthetic_cohort(tmp_path_factory.mktemp("cohort") / "small", n=80, size=(24, 20), seed=3)


@pytest.fixture(scope="session")
def three_classes(small_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The same images, with the subtypes as classes of their own."""
    label = small_cohort.manifest.table["subtype"].map({"": 0, "A": 1, "B": 2})
    names = label.map(["baseline", "type A", "type B"].__getitem__)
    return with_columns(small_cohort, tmp_path_factory.mktemp("three") / "cohort", label=label, **{"class": names})


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small 2-D map generator, as ``run``, and in each format by its name."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ignite")
    from vagan.exporting import FORMATS

    folder = tmp_path_factory.mktemp("exported")
    run = save_random_generator(folder / "run" / "model", global_context=True).parent
    with unchecked_shapes():
        return {"run": run} | {name: export(run, folder / name) for name, export in FORMATS.items()}
