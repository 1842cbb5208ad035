import math

import pytest
import yaml

from vagan.cli.train import train
from vagan.errors import ConfigError
from vagan.training.config import PRESETS, Config, Loss, differences, known_keys, load_config, write_config
from vagan.training.config import settings_without_effect as inert_settings


def test_presets_are_the_models_defaults_and_the_papers():
    assert load_config() == Config()
    paper = load_config("paper")
    assert (paper.loss.map_weight, paper.loss.gradient_penalty, paper.loss.identity_weight) == (100, 10, 0)
    assert (paper.optimizer.beta1, paper.optimizer.beta2, paper.optimizer.generator_learning_rate) == (0, 0.9, 1e-3)
    assert (paper.generator.width, paper.critic.width, paper.generator.output) == (16, 16, "tanh")
    assert (paper.training.generator_updates, paper.training.batch_size) == (1000, 32)


def test_a_resolved_configuration_is_accepted_back(tmp_path):
    config = load_config("paper", {"training.seed": "7", "loss.constraint": "one-sided"})
    write_config(config, tmp_path / "config.yaml")
    assert load_config(str(tmp_path / "config.yaml")) == config
    assert differences(config, load_config("paper")) == [
        "loss.constraint ('one-sided', 'one-axis')",
        "training.seed (7, 0)",
    ]


def test_settings_that_a_method_does_not_use_make_no_difference():
    inert = [("generator.width", "3"), ("loss.map_weight", "3"), ("training.generator_updates", "9")]
    inert += [("optimizer.beta1", "0.1"), ("training.covariates", "age"), ("training.bidirectional", "true")]
    for key, value in [*inert, ("optimizer.decay_from", "0.1")]:
        for method in ("classifier", "cam-classifier", "label-classifier"):
            changed = load_config("fast", {"method": method, key: value})
            found = differences(load_config("fast", {"method": method}), changed)
            assert bool(found) == (key == "optimizer.decay_from")
            assert bool(found) != bool(inert_settings(method, [key]))
        assert len(differences(load_config(), load_config("fast", {key: value}))) == 1
    assert inert_settings("classifier", ["training.downsampling"])
    assert not inert_settings("label-classifier", ["training.downsampling"])
    assert not differences(load_config(), load_config("fast", {"classifier.width": "3"}))
    assert differences(load_config(), load_config("fast", {"method": "classifier"})) == [
        "method ('vagan', 'classifier')"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss.map_wieght": "3"}, "unknown key 'loss.map_wieght'; did you mean 'loss.map_weight'"),
        ({"los.map_weight": "3"}, "unknown key 'los'; did you mean"),
        ({"training.seed.x": "3"}, "training.seed"),
        ({"training.batch_size": "0"}, "training.batch_size: .* greater than or equal to 1; found 0"),
        ({"training.batch_size": "many"}, "training.batch_size: .*found 'many'"),
        ({"loss.constraint": "both"}, "loss.constraint: .*'two-sided'"),
        ({"generator.ema_decay": "1.0"}, "generator.ema_decay"),
        ({"training": "3"}, "training"),
        ({"loss.constraint": "two-sided"}, "relativistic needs loss.constraint=zero-centered"),
        ({"generator.output": "add"}, "need generator.output=warp; set that, or both to 1"),
        # it would drop what the preset says in it
        ({"training": "{}"}, r"'training' is a section.*such as training\.generator_updates"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config("brain", settings)


def test_values_may_be_typed_and_presets_are_all_documented():
    typed = {"training.seed": 3, "training.covariates": ("age", "sex"), "augmentation.mirror_axis": None}
    as_text = {"training.seed": "3", "training.covariates": "age,sex", "augmentation.mirror_axis": "null"}
    assert load_config("brain", typed) == load_config("brain", as_text)
    assert load_config("brain", typed).training.covariates == ("age", "sex")
    assert all(preset in load_config.__doc__ and preset in train.__doc__ for preset in PRESETS)


def test_every_key_can_be_set_to_its_own_value_as_text():
    plain = Config().model_dump()
    for key in known_keys():
        value = plain
        for name in key.split("."):
            value = value[name]
        assert load_config(settings={key: yaml.safe_dump(value).splitlines()[0]}) == Config(), key


@pytest.mark.parametrize("shape", [(112, 112), (56, 56), (96, 80), (64, 80, 56)])
def test_weights_on_maps_keep_their_balance_with_the_critics_slope(shape):
    """A critic whose gradient has length one, even over a tenth of the image, against the weight on each pixel."""
    pixels = math.prod(shape)
    slope_at_a_pixel = (pixels / 10) ** -0.5
    loss = Loss().at(shape)
    assert loss.map_weight / pixels / slope_at_a_pixel == pytest.approx(Loss().map_weight / 112 / 10**0.5)
    assert loss.effect_transfer_weight / loss.map_weight == pytest.approx(
        Loss().effect_transfer_weight / Loss().map_weight
    )
    assert loss.identity_weight / loss.map_weight == pytest.approx(Loss().identity_weight / Loss().map_weight)


def test_weights_are_taken_as_they_are_at_the_papers_size_or_on_request():
    assert Loss().at((112, 112)) == Loss()
    assert Loss(scaled=False).at((64, 80, 56)) == Loss(scaled=False)
    assert Loss().at((64, 80, 56)).gradient_penalty == Loss().gradient_penalty


def test_the_weight_of_displacements_falls_by_the_same_factor_in_each_half_of_the_training():
    loss = Loss(displacement_weight=4.0, displacement_decay=0.25)
    assert [loss.after(progress).displacement_weight for progress in (0.0, 0.5, 1.0)] == [4.0, 2.0, 1.0]
    assert Loss(displacement_weight=4.0).after(0.7) == Loss(displacement_weight=4.0)


def test_distances_are_given_in_pixels_of_the_cohort():
    half, whole = load_config("brain").downsampled(2).augmentation, load_config("brain").augmentation
    assert (half.translation, half.elastic) == (whole.translation / 2, whole.elastic / 2)
    assert (half.rotation_degrees, half.scale) == (whole.rotation_degrees, whole.scale)
