"""Tables of made-up images, and cohorts made of them."""

import shutil

import numpy as np
import pandas as pd

from vagan.data.cohort import Cohort, write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import CohortMetadata


def table_of(labels, classes=("healthy", "ill"), split="train", **columns):
    """Rows of these labels, a subject each unless told otherwise."""
    labels = np.asarray(labels)
    names = [f"{row:04d}" for row in range(len(labels))]
    table = pd.DataFrame({"id": names, "subject": names, "session": "", "label": labels})
    return table.assign(**{"class": np.array(classes)[labels], "split": split} | columns)


def parts_of(count, groups=2):
    """Three fifths of the rows of each group to train, one to validate and one to test on, in turn."""
    return np.array(["train", "train", "train", "validation", "test"])[np.arange(count) // groups % 5]


def one_case(*values):
    """A single case of an array whose pixels are these."""
    return np.array(values, dtype=np.float32).reshape(1, 1, 1, -1)


def write_made_up(folder, table, case_of, **facts):
    """A cohort of the cases of these rows, with intensities in [-1, 1]."""
    metadata = CohortMetadata(source="made up", preparation=Preparation(low=-1.0, high=1.0), **facts)
    return write_cohort(folder, Manifest(table), metadata, case_of)


def with_columns(cohort, folder, **columns):
    """A copy of the cohort with these columns in its manifest."""
    shutil.copytree(cohort.path, folder)
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    table.assign(**columns).to_csv(folder / "manifest.csv", index=False)
    return Cohort(folder)


def rows_by_image(cohort):
    """The row of each image of the cohort, by the image's bytes."""
    return {image.tobytes(): row for row, image in enumerate(cohort.images(np.arange(len(cohort.manifest))).numpy())}
