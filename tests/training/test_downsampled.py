"""Training at half the resolution: networks of blocks of pixels, models for images as they are."""

import pytest
import torch

from trainings import assert_resumes, tiny
from vagan.axes import block_means
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import CohortError
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.model.folder import build_network, load_model
from vagan.training.engine.loop import train
from vagan.training.tasks import adversarial

HALF = {
    "generator__output": "warp",
    "generator__patch_size": 2,
    "loss__objective": "relativistic",
    "loss__constraint": "zero-centered",
    "loss__baseline_velocity_weight": 2.0,
    "loss__displacement_weight": 1.0,
    "loss__displacement_decay": 0.5,
    "critic__smoothing": True,
    "augmentation__rotation_degrees": 3.0,
    "augmentation__elastic": 1.0,
    "training__downsampling": 2,
}


@pytest.fixture(params=[(33, 38), (33, 34, 36)], ids=["2-D", "3-D"], scope="module")
def cohort(request, tmp_path_factory):
    return make_synthetic_cohort(tmp_path_factory.mktemp("half") / "cohort", n=40, size=request.param, seed=3)


def test_batches_have_half_the_resolution_and_keep_the_pose_of_sources(cohort):
    task = adversarial.AdversarialTask(tiny(**HALF), cohort, monitor=mean_ncc)
    (batch,) = task.load(0)
    half = tuple(-(-extent // 2) for extent in cohort.shape)
    assert batch.source.shape[2:] == batch.target.shape[2:] == batch.pose.coordinates.shape[2:] == half
    assert {"validation/map", "monitor/ncc"} < set(task.validate(task.build()))  # true effects are downsampled too


def test_the_model_is_for_images_at_their_full_resolution(cohort, tmp_path, monkeypatch):
    run = train(cohort, tmp_path / "run", tiny(**HALF))
    network, spec = load_model(run.path)
    assert (spec.shape, spec.downsampling, spec.patch_size) == (cohort.shape, 2, 2)
    selected = cohort.select("test")[:2]
    found = Attributor.load(run.path).attribute(selected)
    assert found.effect.shape == selected.images.shape
    assert found.deformation.displacement.shape[2:] == cohort.shape
    in_training = build_network(spec, downsampled=True).eval()
    in_training.load_state_dict(network.state_dict())
    with torch.no_grad():
        whole = in_training(block_means(selected.images, 2))
    extents = [slice(extent) for extent in cohort.shape]
    torch.testing.assert_close(network(selected.images), whole[(..., *extents)])
    if len(cohort.shape) == 2:  # takes half a minute in volumes
        assert_resumes(cohort, tmp_path / "cut", tiny(**HALF), run, monkeypatch)


def test_a_class_gate_is_trained_at_the_same_resolution_and_explained_classifiers_are_not(cohort, tmp_path):
    quick = {"classifier__width": 2, "classifier__updates": 2} | HALF
    for method, factor in (("label-classifier", 2), ("cam-classifier", 1)):
        run = train(cohort, tmp_path / method, tiny(method=method, **quick))
        network, spec = load_model(run.path)
        assert (spec.shape, spec.downsampling) == (cohort.shape, factor)
        assert network(cohort.images([0, 1])).shape == (2, 2)


def test_images_that_are_too_small_for_it_are_refused_with_a_remedy(small_cohort):
    with pytest.raises(
        CohortError, match=r"at least 16 .* after downsampling, found \(12, 10\).*training.downsampling=1"
    ):
        adversarial.AdversarialTask(tiny(**HALF), small_cohort)
