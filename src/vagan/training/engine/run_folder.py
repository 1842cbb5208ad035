"""The run folder of a training: settings, metrics, checkpoints, model."""

import importlib.metadata
import os
import platform
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, field_validator

from vagan.data.cohort import Cohort
from vagan.data.fingerprint import Fingerprints, fingerprints, from_text, to_text
from vagan.errors import OutputError, RunError, reason_of
from vagan.files import lock, read_text, regular, remove_leftovers, replacing, unlock, write_json, write_text
from vagan.model.folder import Text
from vagan.training.config import Config, differences, parse_config, parse_yaml, write_config
from vagan.training.engine.state import ValidationExamples
from vagan.training.schedule import updates_of

LENGTHS = ("training.generator_updates ", "schedule.distillation_updates ", "classifier.updates ")
"""Settings that may change when a run resumes."""

LOCK = "lock"


class _Seen(BaseModel):
    """Of the training and validation images."""

    images: str
    """Fingerprints, as text."""
    subjects: list[str]

    @field_validator("images")
    @classmethod
    def _are_fingerprints(cls, text: str) -> str:
        from_text(text)
        return text


class _CohortRecord(BaseModel):
    hash: Text
    source: Text = ""
    classes: list[Text] = []
    splits: dict[Text, list[str]]
    seen: _Seen | None = None


class RunFolder:
    """Names and files of the run folder ``path``."""

    def __init__(self, path: Path) -> None:
        self.path, self.config, self.cohort = path, path / "config.yaml", path / "cohort.json"
        self.metrics, self.examples = path / "metrics.csv", path / "examples.npz"
        self.log, self.environment = path / "log.txt", path / "environment.txt"
        self.tensorboard, self.model = path / "tensorboard", path / "model"
        self.checkpoint = path / "checkpoints" / "latest.pt"

    @property
    def is_begun(self) -> bool:
        """Whether there is a configuration, or what should be one."""
        return os.path.lexists(self.config)

    def read_config(self) -> Config:
        """Resolved configuration of the run."""
        try:
            text = read_text(self.config)
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                f"{self.path} is not a run folder ({self.config.name} cannot be read); give one made by `vagan train`"
            ) from error
        return parse_config(parse_yaml(text, where=str(self.config)), where=str(self.config))

    def begin(self, config: Config, cohort: Cohort) -> bool:
        """Prepare the folder for a training, or check that it belongs to this one; returns whether to resume."""
        for folder in (self.path, self.model, self.checkpoint.parent):
            remove_leftovers(folder)
        if self.config.is_file():
            if differing := [one for one in differences(self.read_config(), config) if not one.startswith(LENGTHS)]:
                raise RunError(
                    f"{self.path} belongs to another configuration: {', '.join(differing[:4])} (there, here); "
                    "give the same settings to resume, or another run folder"
                )
            if {**self.read_cohort(), "seen": None} != {**_cohort_record(cohort), "seen": None}:
                begun = f"{self.path} was begun on another cohort, or on another split of it"
                raise RunError(f"{begun}; give that one to resume, or another run folder")
            if os.path.lexists(self.checkpoint) and not self.checkpoint.is_file():
                raise RunError(f"the checkpoint {self.checkpoint} must be a file; delete it to start again")
            return self.checkpoint.is_file()
        rows = np.concatenate([cohort.manifest.indices(split) for split in ("train", "validation")])
        subjects = sorted(set(cohort.manifest.table["subject"].iloc[rows]))
        seen = {"images": to_text(fingerprints(cohort, rows)), "subjects": subjects}
        write_json(self.cohort, _cohort_record(cohort) | {"seen": seen})
        installed = sorted({f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()})
        system = f"# Python {platform.python_version()}, {platform.platform()}"
        write_text(self.environment, "\n".join([system, *installed]) + "\n")
        write_config(config, self.config)  # last: its presence makes this a run folder
        return False

    def change_length(self, before: Config, config: Config, *, done: int, stopped_early: int) -> None:
        """Keep the settings of a run that resumes after so many updates, and may be longer or shorter than before."""
        if not differences(before, config):
            return
        latest = min(updates_of(one)[0] for one in (before, config))
        if done > latest or stopped_early:
            reason = f"training against the critic ended early, after {stopped_early} generator updates"
            if not stopped_early:
                reason = f"{done} updates are done, and distillation began or would begin after {latest}"
            raise RunError(
                f"the length of {self.path} can no longer become this: {reason}; give its own settings, or another "
                "run folder"
            )
        write_config(config, self.config)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone, until the block ends or the process does."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"the run folder must be a folder: {self.path} is a file; choose another name")
        entries = sorted(self.path.iterdir()) if self.path.is_dir() else []
        ours = (LOCK, self.cohort.name, self.environment.name)  # of a start that was cut short
        if not self.config.is_file() and any(not e.name.startswith(".") and e.name not in ours for e in entries):
            raise OutputError(f"the run folder must be new or empty: {self.path} holds other files; choose another")
        if links := [entry for entry in entries if entry.is_symlink()]:  # writing would change files elsewhere
            raise OutputError(
                f"a run folder that is written to must not hold links: {links[0]} is one; replace it by what it "
                "links to, or choose another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
            held = lock(self.path / LOCK)
        except BlockingIOError as error:
            raise RunError(f"another training is running in {self.path}; wait, or choose another folder") from error
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason_of(error)}") from error
        if held is None:
            warnings.warn(
                f"{self.path} is not locked: its file system has no locks; do not train in it twice at a time",
                stacklevel=3,
            )
        try:
            yield
        finally:
            unlock(held)

    def require_there(self) -> None:
        """Refuse to write where the locked folder was: a vanished mount leaves another, empty one in its place."""
        if not (self.path / LOCK).exists():
            raise OutputError(
                f"{self.path} has vanished during the training; is its disk still mounted? "
                "its last checkpoint is in it: repeat the command when it is back"
            )

    def seconds(self) -> float:
        """Time spent training so far, over all sessions."""
        table = self.read_metrics()
        return float(table["seconds"].iloc[-1]) if len(table) else 0.0

    def read_metrics(self) -> pd.DataFrame:
        """Figures so far, a row for each recorded update; empty before the first."""
        if not os.path.lexists(self.metrics):
            return pd.DataFrame()
        try:
            table = pd.read_csv(regular(self.metrics))
            if missing := {"update", "seconds"} - set(table.columns):
                raise ValueError(f"there is no column {', '.join(sorted(missing))}")
        except (OSError, ValueError) as error:
            problem = f"{self.metrics} must be a table of metrics, but cannot be read: {error}"
            raise RunError(f"{problem}; delete it to resume without the earlier metrics") from error
        return table

    def write_examples(self, examples: ValidationExamples) -> None:
        """Keep what the last validation showed."""
        arrays = {name: getattr(examples, name).cpu().numpy() for name in ("images", "counterfactuals")}
        with replacing(self.examples, in_new_folder=False) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, classes=np.array(examples.classes), **arrays)

    def read_examples(self) -> ValidationExamples | None:
        """What the last validation showed; None if that is nothing, or cannot be read."""
        try:
            with np.load(self.examples, allow_pickle=False) as file:
                images, counterfactuals = (torch.from_numpy(file[name]) for name in ("images", "counterfactuals"))
                return ValidationExamples(images, counterfactuals, tuple(map(str, file["classes"])))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def read_cohort(self) -> dict[str, Any]:
        """What the run was begun on: source, classes, splits, and a hash of it all."""
        try:
            return _CohortRecord.model_validate_json(read_text(self.cohort)).model_dump(exclude_unset=True)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            problem = f"{self.cohort} must describe the cohort of the run, but cannot be read: {reason}"
            raise RunError(f"{problem}; put the file of this training back") from error

    def read_seen(self) -> tuple[Fingerprints, set[str]] | None:
        """Fingerprints and subjects of the training and validation images; None in a folder without this record."""
        seen = self.read_cohort().get("seen")
        return seen and (from_text(seen["images"]), set(seen["subjects"]))

    def note(self, text: str) -> None:
        """Append a dated line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _cohort_record(cohort: Cohort) -> dict[str, Any]:
    table = cohort.manifest.table
    return {
        "hash": cohort.metadata.content_hash,
        "source": cohort.metadata.source,
        "classes": list(cohort.manifest.classes),
        "splits": {split: list(rows["id"]) for split, rows in table.groupby("split")},
    }
