"""What holds for any table, any setting, any grid, not only for those that somebody thought of."""

import string

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vagan.data.manifest import REQUIRED, SPLITS, Manifest
from vagan.data.splits import assign_splits
from vagan.data.table import read_table
from vagan.errors import ConfigError, ManifestError
from vagan.training.config import known_keys, load_config, parse_yaml

quickly = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

names = (
    st.text(string.ascii_letters + string.digits + " .,;\"'<>äß中-_/\\", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda name: name and name[0] not in "=@+-")
)
anything = st.text(st.characters(codec="utf-8"), max_size=60)


@quickly
@given(
    st.lists(st.tuples(names, names, st.sampled_from(SPLITS)), min_size=2, max_size=20, unique_by=lambda row: row[0])
)
def test_a_manifest_comes_back_as_it_was_written(tmp_path_factory, rows):
    table = pd.DataFrame(
        {
            "id": [name for name, _, _ in rows],
            "subject": [f"{split}{subject}" for _, subject, split in rows],  # no subject in two parts
            "session": "",
            "label": [place % 2 for place in range(len(rows))],
            "class": [("healthy", "ill")[place % 2] for place in range(len(rows))],
            "split": [split for _, _, split in rows],
        }
    )[list(REQUIRED)]
    path = tmp_path_factory.mktemp("m") / "manifest.csv"
    Manifest(table).write(path)
    assert Manifest.read(path).table.astype(str).equals(table.astype(str))


@quickly
@given(counts=st.lists(st.integers(1, 4), min_size=8, max_size=60), seed=st.integers(0, 5), test=st.floats(0.1, 0.5))
def test_splits_never_share_a_subject_and_keep_their_proportions(counts, seed, test):
    subjects = np.repeat(np.arange(len(counts)), counts)
    frame = pd.DataFrame({"subject": subjects, "label": subjects % 2})
    split = assign_splits(frame, seed=seed, test=test)
    assert split.groupby(frame["subject"]).nunique().max() == 1
    for label in (0, 1):
        parts = split[frame["label"] == label].groupby(frame["subject"]).first()
        assert abs((parts == "test").sum() - test * len(parts)) <= 0.5
    pd.testing.assert_series_equal(split, assign_splits(frame, seed=seed, test=test))


def refusal(kind, read):
    """What is said against an input; None if it is taken. Any other error is the test's failure."""
    try:
        read()
    except kind as error:
        return str(error)
    return None


@quickly
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "table.csv"
    path.write_bytes(content)
    for read in (read_table, Manifest.read):
        assert "table.csv" in (refusal(ManifestError, lambda read=read: read(path)) or "table.csv")


@quickly
@given(anything)
def test_any_text_is_a_yaml_value_or_refused(text):
    told = refusal(ConfigError, lambda: parse_yaml(text, where="here"))
    assert told is None or told.startswith("here must be a YAML value")


@quickly
@given(st.sampled_from(known_keys()), anything)
def test_any_value_of_any_key_is_taken_or_refused(key, text):
    told = refusal(ConfigError, lambda: load_config(settings={key: text}))
    assert told is None or key in told
