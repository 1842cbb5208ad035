"""One generator for several classes of interest: conditioned on the class."""

import numpy as np
import pandas as pd
import pytest
import torch

from tables import parts_of, rows_by_image, table_of, write_made_up
from trainings import assert_resumes, tiny
from vagan.data.schema import CohortCase
from vagan.errors import CohortError
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.model.folder import load_model
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.sampling import validation_rows
from vagan.training.tasks import adversarial
from vagan.training.tasks.classification import fitted_temperature


def test_of_several_classes_one_can_be_named(three_classes, tmp_path):
    with pytest.raises(CohortError, match="did you mean 'type B'"):
        train(three_classes, tmp_path / "run", tiny(training__class_of_interest="typ B"))
    run = train(three_classes, tmp_path / "run", tiny(training__class_of_interest="type B"))
    assert load_model(run.path)[1].classes == ("baseline", "type B")
    with pytest.raises(CohortError, match=r"found type A, type B.*training\.class_of_interest"):
        train(three_classes, tmp_path / "classifier", tiny(method="classifier"))


def test_images_of_several_classes_come_in_turn_and_with_their_class(three_classes):
    task = adversarial.AdversarialTask(tiny(), three_classes)
    row_of, label_of = rows_by_image(three_classes), three_classes.manifest.table["label"]
    for update in (0, 1):
        (batch,) = task.load(update)
        labels = [label_of[row_of[image.tobytes()]] for image in batch.source.numpy()]
        assert [int(row.argmax()) + 1 for row in batch.condition] == labels
        assert abs(labels.count(1) - labels.count(2)) <= 1
        assert {label_of[row_of[image.tobytes()]] for image in batch.target.numpy()} == {0}


def test_one_generator_learns_several_classes_and_resumes(three_classes, tmp_path, monkeypatch):
    whole = train(three_classes, tmp_path / "whole", tiny())
    network, facts = load_model(whole.path)
    assert facts.classes == ("baseline", "type A", "type B")
    images = three_classes.images(three_classes.manifest.indices("test")[:2])
    maps = [
        Attributor.load(whole.path, class_of_interest=name).methods[0].raw_map(images) for name in facts.classes[1:]
    ]
    for condition, found in zip(torch.eye(2), maps, strict=True):
        assert torch.equal(network(images, condition.expand(2, 2)), found)
    assert not torch.equal(*maps)
    assert_resumes(three_classes, tmp_path / "cut", tiny(), whole, monkeypatch)


def test_a_label_classifier_separates_all_classes_and_is_calibrated(three_classes, tmp_path):
    config = tiny(
        method="label-classifier", classifier__width=2, classifier__updates=5, training__precision="32-true"
    )
    run = train(three_classes, tmp_path / "run", config)
    network, facts = load_model(run.path)
    assert (facts.kind, facts.classes) == ("label-classifier", ("baseline", "type A", "type B"))
    rows = validation_rows(three_classes, (1, 2), config.training)
    with torch.no_grad():
        logits = torch.cat([network(three_classes.images(found)) for found in rows.values()]).double().numpy()
    assert logits.shape[1] == 3
    labels = np.repeat([0, 1, 2], [len(found) for found in rows.values()])
    assert facts.temperature == pytest.approx(fitted_temperature(logits, labels), rel=1e-3)
    metrics = pd.read_csv(run.metrics)
    assert {"validation/accuracy", "validation/auc", "validation/calibration_error"} < set(metrics.columns)


BLOCKS = {1: (slice(2, 8), slice(2, 8)), 2: (slice(9, 15), slice(11, 18))}
AMPLITUDE = 0.5


@pytest.mark.long
def test_each_class_gets_its_own_effect(tmp_path):
    """A bright block in one corner of the first class, in another one of the second."""

    def case(row):
        image = np.random.default_rng(row).normal(0, 0.09, (1, 16, 20)).astype(np.float32)
        effect = np.zeros_like(image)
        if row % 3:
            effect[0][BLOCKS[row % 3]] = AMPLITUDE
        return CohortCase(image + effect, effect)

    table = table_of(np.arange(480) % 3, ("none", "first", "second"), split=parts_of(480, groups=3))
    cohort = write_made_up(tmp_path / "cohort", table, case)
    config = load_config(settings={"training.generator_updates": "60", "training.num_threads": "1"})
    run = train(cohort, tmp_path / "run", config)
    for label, other in ((1, 2), (2, 1)):
        method = Attributor.load(run.path, class_of_interest=cohort.manifest.classes[label])
        rows = cohort.manifest.indices("test", label)
        assert mean_ncc(method.effect(cohort.images(rows)), cohort.effects(rows)) > 0.9
        # an image of the other class has nothing to remove where this class acts
        foreign = method.effect(cohort.images(cohort.manifest.indices("test", other))).numpy()
        assert np.abs(foreign[:, 0, *BLOCKS[label]]).mean() < 0.1 * AMPLITUDE
