"""Bad and hostile inputs at every door of the command line, each made from a good one."""

import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models import save_random_generator
from tiny import TINY_SETTINGS
from torture.answers import Answer, ask, complaints, snapshot
from vagan.data.cohort import Cohort
from vagan.data.sources.folder import import_folder
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import Interrupted
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.engine.state import TrainState
from vagan.training.tasks.adversarial import AdversarialTask


class Workshop:
    """Good inputs, made once, and a fresh place for each bad one.

    Parameters
    ----------
    folder
        For all of it.
    """

    def __init__(self, folder: Path) -> None:
        self.good, self._places = folder / "good", folder / "places"
        self.good.mkdir(parents=True, exist_ok=True)

    def place(self, name: str) -> Path:
        """An empty folder."""
        path = self._places / f"{zlib.crc32(name.encode()):08x}"
        path.mkdir(parents=True)
        return path

    def copy(self, name: str, place: Path) -> Path:
        """One of the good things below, in a place where it may be damaged."""
        source: Path = getattr(self, name)
        return Path(shutil.copytree(source, place / name))

    @cached_property
    def cohort(self) -> Path:
        """Forty synthetic images of 18x17 with effects."""
        return make_synthetic_cohort(self.good / "cohort", n=40, size=(18, 17)).path

    @cached_property
    def imported(self) -> Path:
        """A cohort of NumPy files."""
        source = self.good / "arrays"
        rng = np.random.default_rng(1)
        for name in ("healthy", "ill"):
            (source / name).mkdir(parents=True)
            for number in range(6):
                np.save(source / name / f"{number}.npy", rng.random((18, 17), dtype=np.float32))
        return import_folder(source, self.good / "imported").path

    @cached_property
    def model(self) -> Path:
        """A map generator for grey pictures of 24x20."""
        return save_random_generator(self.good / "model")

    @cached_property
    def model_3d(self) -> Path:
        """A map generator for volumes of 16x17x18."""
        return save_random_generator(self.good / "model_3d", num_spatial_dims=3, shape=(16, 17, 18))

    @cached_property
    def stopped_run(self) -> Path:
        """A training that was interrupted after some updates."""
        run = self.good / "stopped_run"
        config = load_config(settings=TINY_SETTINGS | {"training.generator_updates": "9"})
        with stopping_after(3), suppress(Interrupted):
            train(Cohort(self.cohort), run, config)
        return run


@contextmanager
def stopping_after(updates: int) -> Iterator[None]:
    """Send this process what Ctrl-C sends, after some updates of a training."""
    update = AdversarialTask.update

    def counted(self: AdversarialTask, state: TrainState, *more: Any) -> Any:
        terms = update(self, state, *more)
        if state.updates + 1 == updates:
            signal.raise_signal(signal.SIGINT)
        return terms

    AdversarialTask.update = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        AdversarialTask.update = update  # type: ignore[method-assign]


Command = list[object]


@dataclass(frozen=True)
class Defect:
    """A bad input.

    Attributes
    ----------
    door
        Where it comes in.
    name
        What is wrong with it, and to whom it is given.
    make
        Makes it in a place, and returns the command.
    names
        What the answer must name.
    leaves
        Beginning of the names that the command may make or change: reports of what failed, a run's lock and log.
    """

    door: str
    name: str
    make: Callable[[Workshop, Path], Command]
    names: str
    leaves: str = ""

    @property
    def id(self) -> str:
        """Both together."""
        return f"{self.door}: {self.name}"


def try_out(defect: Defect, workshop: Workshop, run: Callable[[Command], Answer] = ask) -> tuple[Answer, list[str]]:
    """The answer to a defect, and what is wrong with the answer."""
    place = workshop.place(defect.id)
    command = defect.make(workshop, place)
    before = snapshot(place)
    answer = run(command)
    found = complaints(answer, names=defect.names)
    after = snapshot(place)
    changed = {
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and not (defect.leaves and name.startswith(defect.leaves))
    }
    if changed:
        found.append(f"changed on disk: {', '.join(sorted(changed)[:3])}")
    shutil.rmtree(place)
    return answer, found


def all_defects() -> Iterator[Defect]:
    """The whole corpus, in a fixed order."""
    from torture import bad_dicom, bad_images, bad_models, bad_settings, bad_stores, bad_tables, bad_volumes

    for part in (bad_images, bad_volumes, bad_dicom, bad_tables, bad_stores, bad_models, bad_settings):
        yield from part.defects()
