"""All settings of a training with their defaults. Presets are differences from them."""

import math
import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vagan.effect import Output
from vagan.errors import ConfigError, nearest
from vagan.files import read_text, write_text

PIXELS_OF_THE_PAPER = 112 * 112
"""Of the paper's 2-D images, for which the default weights were found."""

SCALED_WEIGHTS = (
    "map_weight", "identity_weight", "smoothness_weight", "displacement_weight", "baseline_velocity_weight",
    "effect_transfer_weight", "cycle_weight",
)  # fmt: skip
"""Weights of terms that are means over pixels, which `Loss.at` adapts to the size of images."""

Method = Literal["vagan", "classifier", "cam-classifier", "label-classifier"]
"""The last one predicts the class of images of unknown class; the other classifiers are to be explained."""
Objective = Literal["wasserstein", "relativistic"]
Constraint = Literal["two-sided", "one-sided", "one-axis", "clip", "zero-centered"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


def _split(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Also as one text with commas."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=4096)]
"""An upper bound, so that a typing error cannot request a terabyte."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Generator(_Section):
    """The map generator M."""

    width: Width = 8
    """Feature maps of the first level; the paper has 16, for three times the time."""
    joint_batch_norm: bool = True
    """Source and target images pass through batch norm in one batch, as in use. Otherwise (the authors' code) batch
    statistics reveal the class: training is faster, but maps then show the class in images that do not have it."""
    global_context: bool = True
    """Add a function of the image-wide feature means at the bottleneck: a global receptive field everywhere."""
    zero_init: bool = True
    """Start from M = 0: the last convolution's weights are zero."""
    output: Output = "add"
    """How the map is applied: ``add`` (y = x + M), ``tanh`` (y = tanh(x + M)), ``warp`` (the map deforms x) or
    ``warp+add`` (it deforms x, then adds to it)."""
    patch_size: Literal[1, 2] = 1
    """Edge of the blocks of pixels that are the channels of the first level, of a generator whose output is ``warp``:
    a fraction of the time."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Upper bound of the decay of the exponential moving average (EMA) of the weights, the model in use; 0: none."""
    ema_rampup: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Mean age of the averaged weights, as a fraction of the updates so far; larger where training oscillates."""
    bn_recalibration_images: Annotated[int, Field(ge=0)] = 128
    """Training images of each class on which batch-norm statistics are recomputed for the averaged weights. 0 keeps
    the running statistics, which lag behind by about a hundred updates."""


class Critic(_Section):
    """The critic D."""

    width: Width = 32
    """Feature maps of the first level. Narrower critics find effects that could occur anywhere late, and with
    patch_size 2 their blocks of pixels show in the maps."""
    max_width: Width = 128
    """Feature maps of a level at most: they double from level to level. 256 in the paper."""
    patch_size: Literal[1, 2] = 2
    """Edge of the blocks of pixels that are the channels of the first level; 1 in the paper."""
    smoothing: bool = False
    """Images pass a binomial filter first: classes then do not differ by blur or noise."""


class Loss(_Section):
    """Weights and variants of Eq. 2-4."""

    scaled: bool = True
    """Weights on maps are given for 112x112 pixels and scaled by the square root of the number of pixels, as the
    gradient at one pixel of a critic of unit gradient norm shrinks; otherwise used as given."""
    map_weight: NonNegative = 7.0
    """Weight of the mean |M(x)| on images of the class of interest (lambda of Eq. 4)."""
    identity_weight: NonNegative = 20.0
    """Identity loss: weight of |M(x0)| on images of the baseline class, which have no effect to remove. Each image
    counts in proportion to the size of its map, so that few large maps are not outweighed by many small ones."""
    smoothness_weight: NonNegative = 10.0
    """Weight of the mean squared spatial gradient of the velocity field, for generators that deform."""
    displacement_weight: NonNegative = 0.0
    """Weight of the mean |velocity|, for generators that deform: the smoothness term does not penalise a shift."""
    displacement_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on displacement_weight at the end of training, reached exponentially: strong effects are found first,
    then faint ones."""
    baseline_velocity_weight: NonNegative = 0.0
    """Weight of the mean squared velocity on images of the baseline class, for generators that deform."""
    effect_transfer_weight: NonNegative = 40.0
    """Effect transfer: the averaged generator's effect of one image is added to an image of the baseline class, from
    which the generator must recover it. For effects that could occur anywhere."""
    effect_transfer_after: Annotated[int, Field(ge=0)] = 5
    """Generator updates before effects are transferred; earlier ones are not informative."""
    cycle_weight: NonNegative = 0.0
    """Cycle consistency (Zhu et al. 2017): removing and inserting the class, in either order, must return the image.
    Needs training.bidirectional."""
    insertion_weight_scale: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Factor on map_weight and identity_weight for images into which the class is inserted; insertion starts late and
    weak, and full weights suppress it. Needs training.bidirectional."""
    objective: Objective = "wasserstein"
    """What the critic maximises: ``wasserstein``, the distance of Eq. 2, or ``relativistic``, the likelihood that a
    target image scores higher than a generated one; the latter needs the constraint ``zero-centered``."""
    constraint: Constraint = "two-sided"
    """How the critic's gradient is bounded: to a norm of one between target and generated images (``two-sided``,
    ``one-sided``, ``one-axis``), towards zero at these images themselves (``zero-centered``: R1 and R2), or by the
    size of its weights (``clip``)."""
    gradient_penalty: NonNegative = 10.0
    """Weight of the gradient penalty."""
    penalty_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a batch on which the gradient penalty is evaluated: an unbiased estimate at a lower cost. With the
    constraint ``zero-centered`` it is always the whole batch, at no cost."""
    clip: Positive = 0.01
    """Bound of the critic's weights where constraint is clip."""

    def at(self, shape: tuple[int, ...]) -> "Loss":
        """The same with the weights on maps that images of this spatial shape need."""
        factor = (math.prod(shape) / PIXELS_OF_THE_PAPER) ** 0.5 if self.scaled else 1.0
        return self.model_copy(update={name: factor * getattr(self, name) for name in SCALED_WEIGHTS})

    def after(self, progress: float) -> "Loss":
        """The same with the weight of the displacement after this fraction of the training."""
        weight = self.displacement_weight * self.displacement_decay**progress
        return self.model_copy(update={"displacement_weight": weight})


class Schedule(_Section):
    """Order and number of updates."""

    critic_updates: Count = 5
    """Critic updates before a generator update."""
    boosted_critic_updates: Count = 60
    """Critic updates before a generator update of the warm-up, and before every boost_every-th."""
    warmup_generator_updates: Annotated[int, Field(ge=0)] = 1
    """Generator updates with boosted critic updates at the start: an untrained critic moves the generator in a wrong
    direction, from which it recovers slowly."""
    boost_every: Annotated[int, Field(ge=0)] = 0
    """Boost the critic before every n-th generator update; 0 for never."""
    early_stopping_from: Annotated[int, Field(ge=0)] = 225
    """Earliest generator update at which training against the critic may end, before any distillation; 0 for never.
    It ends once the running mean of M(x0)/M(x1) in training images is at most 0.12 and falls no further, at least 175
    updates after it was 0.5; or the critic overfits."""
    distillation_updates: Annotated[int, Field(ge=0)] = 40
    """Generator updates at the end that learn to recover the averaged generator's effects from images of the baseline
    class, without the critic. This removes the texture of the image from its map. Rejected at the end where the
    effects in validation images became smaller."""


class Optimizer(_Section):
    """Adam's settings."""

    generator_learning_rate: Positive = 1e-3
    critic_learning_rate: Positive = 5e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Of the critic; 0 in the paper."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the critic."""
    generator_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    generator_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    decay_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of the longest run after which the learning rates fall to zero along half a cosine; 1 for constant."""
    critic_decays: bool = True
    """Whether the critic's learning rate falls as well; not where the critic follows the generator too slowly."""


class Classifier(_Section):
    """The classifiers; used where method is classifier, cam-classifier or label-classifier."""

    width: Width = 32
    """Feature maps of the first level."""
    updates: Count = 100
    """Length of the run."""
    learning_rate: Positive = 1e-3
    bn_recalibration_images: Annotated[int, Field(ge=0)] = 32
    """Training images of each class on which batch-norm statistics are recomputed for the final network."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999


class Augmentation(_Section):
    """Random augmentation of training images, the same for all classes; none by default."""

    mirror_axis: Annotated[int, Field(ge=0)] | None = None
    """Add the mirror image of each training image along this spatial axis (0 is left-right in RAS volumes). Not where
    the class is lateralised."""
    rotation_degrees: NonNegative = 0.0
    """Standard deviation of random rotations in each plane, about the middle of the image."""
    translation: NonNegative = 0.0
    """Standard deviation of random shifts along each axis, in pixels of the cohort's images."""
    scale: NonNegative = 0.0
    """Standard deviation of random changes of size along each axis, as a fraction."""
    elastic: NonNegative = 0.0
    """Standard deviation of random smooth displacements, in pixels of the cohort's images."""


class Training(_Section):
    """What is learned, and on what hardware."""

    generator_updates: Count = 450
    """Generator updates against the critic at most; see ``schedule.early_stopping_from``."""
    batch_size: Count = 8
    """Images of each class in one gradient computation."""
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=10**5)] = 1
    """Batches whose gradients are accumulated before an update."""
    downsampling: Literal[1, 2] = 1
    """2: train a map generator whose output is ``warp``, and the class gate, on images of half the resolution, an
    eighth of the voxels. The model is for images of the full one, as a velocity is smooth."""
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0
    class_of_interest: str = ""
    """Name of the class of interest. With several in the cohort and none named, one map generator, conditioned on
    the class, learns all; a classifier needs a name."""
    permute_labels: bool = False
    """A control: train on randomly permuted labels. Maps of such a model show no effect of the class."""
    covariates: Names = ()
    """Columns of the manifest, such as age and sex, whose effects maps must not show: the networks are conditioned on
    them, and baseline images are sampled to match the covariates of the class of interest."""
    bidirectional: bool = False
    """Learn to insert each class of interest into baseline images as well, alternating with removing it; for
    `vagan attribute --insert`, see the preset ``bidirectional``."""
    precision: Precision = "auto"
    """Number format of the networks' arithmetic; weights, losses and penalties stay in float32. ``auto`` takes
    bfloat16 where the device has instructions for it (GPUs; processors with AMX or AVX512-BF16), else float32."""
    channels_last: bool = True
    """Memory layout with a pixel's channels side by side: the same numbers, faster."""
    gradient_checkpointing: bool = False
    """Keep only the activations between the levels of a network, less than half of all, and recompute the others in
    the backward pass: the same numbers for more time. For large volumes; peak memory falls less."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    memory_mb: Annotated[int, Field(ge=0)] = 4096
    """Training and validation images are held in memory if they fit into this, or else the training images alone;
    otherwise they are prefetched from the store."""
    num_threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """CPU threads; 0 for one on each core. Runs are bit-equal for the same number."""
    validate_every: Count = 20
    """Generator updates between two validations."""
    validation_images: Count = 64
    """Images of each class, drawn once from the validation split, for validation metrics."""
    checkpoint_seconds: NonNegative = 60.0
    """Time between two checkpoints; does not affect the result."""


class Config(_Section):
    """All settings of one training."""

    method: Method = "vagan"
    generator: Generator = Generator()
    critic: Critic = Critic()
    loss: Loss = Loss()
    schedule: Schedule = Schedule()
    optimizer: Optimizer = Optimizer()
    classifier: Classifier = Classifier()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()

    def downsampled(self, factor: int) -> "Config":
        """The same for images whose pixels are ``factor`` times as large: distances in pixels are smaller."""
        distances = {name: getattr(self.augmentation, name) / factor for name in ("translation", "elastic")}
        return self.model_copy(update={"augmentation": self.augmentation.model_copy(update=distances)})

    @model_validator(mode="after")
    def _settings_agree(self) -> "Config":
        """Rules that concern more than one section; a classifier uses none of these settings."""
        if self.method != "vagan":
            return self
        if self.generator.output != "warp" and self.training.downsampling * self.generator.patch_size > 1:
            raise ValueError(
                "training.downsampling and generator.patch_size above 1 need generator.output=warp; "
                "set that, or both to 1"
            )
        if self.loss.objective == "relativistic" and self.loss.constraint != "zero-centered":
            raise ValueError("loss.objective=relativistic needs loss.constraint=zero-centered; set that too")
        if self.training.bidirectional:
            return self
        if self.loss.cycle_weight > 0:
            raise ValueError("loss.cycle_weight needs training.bidirectional=true; set that, or the weight to 0")
        if self.loss.insertion_weight_scale < 1:
            raise ValueError(
                "loss.insertion_weight_scale below 1 needs training.bidirectional=true; set that, or the scale to 1"
            )
        return self


PRESETS = ("fast", "brain", "bidirectional", "paper")
WITHOUT_EFFECT = {
    "vagan": ("training.checkpoint_seconds", "training.memory_mb", "training.gradient_checkpointing", "classifier."),
    "classifier": (
        *("training.checkpoint_seconds", "training.memory_mb", "training.gradient_checkpointing"),
        *("training.generator_updates", "training.validate_every", "training.covariates", "training.bidirectional"),
        *("generator.", "critic.", "loss.", "schedule."),
        *("optimizer.generator_", "optimizer.critic_", "optimizer.beta"),  # all but decay_from
    ),
}
"""Settings, or whole sections, that change no result of a run of the method."""
WITHOUT_EFFECT["label-classifier"] = WITHOUT_EFFECT["classifier"]
WITHOUT_EFFECT["classifier"] = WITHOUT_EFFECT["cam-classifier"] = (
    *WITHOUT_EFFECT["classifier"],
    "training.downsampling",
)


def load_config(preset: str = "fast", settings: Mapping[str, Any] | None = None) -> Config:
    """Resolve a preset and single settings to a full configuration.

    Raises `ConfigError` for an unknown preset, key or value; names the nearest key.

    Parameters
    ----------
    preset
        ``fast``, ``brain``, ``bidirectional`` or ``paper``, or the path of a YAML file such as a run's
        ``config.yaml``.
    settings
        Dotted keys and typed values, e.g. ``{"training.seed": 3}``; text is parsed as YAML.
    """
    values = _read_preset(preset)
    for key, value in (settings or {}).items():
        section = values
        *parents, name = key.split(".")
        if inside := [known for known in known_keys() if known.startswith(f"{key}.")]:
            raise ConfigError(f"{key!r} is a section, not a key; set its keys one by one, such as {inside[0]}")
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"unknown key {key!r}; {nearest(key, known_keys())}")
        section[name] = parse_yaml(value, where=f"the value of {key}") if isinstance(value, str) else value
    return parse_config(values, where="settings" if settings else preset)


def settings_without_effect(method: Method, keys: Iterable[str]) -> list[str]:
    """Those of the keys that concern another method alone."""
    common = set.intersection(*map(set, WITHOUT_EFFECT.values()))  # these change the time, or the memory
    return [key for key in keys if key.startswith(tuple(set(WITHOUT_EFFECT[method]) - common))]


def parse_yaml(text: str, *, where: str) -> Any:
    """Values of a YAML text; no tag in it is obeyed, and no alias, by which a few lines can stand for billions."""
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("aliases (*name) are not read; write the value in full")
        return yaml.safe_load(text)
    # days that are none and numbers of thousands of digits are ValueErrors
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where} must be a YAML value: {' '.join(str(error).split())}; found {reprlib.repr(text)}"
        ) from error


def parse_config(values: Any, *, where: str) -> Config:
    """Check nested values against the model; the first defect is the message."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        defect = error.errors()[0]
        key = ".".join(map(str, defect["loc"]))
        if not key and defect["type"] == "value_error":
            raise ConfigError(f"{where}: {defect['ctx']['error']}") from error
        if defect["type"] == "extra_forbidden":
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, known_keys())}") from error
        raise ConfigError(
            f"{where}: {key or 'the configuration'}: {defect['msg']}; found {reprlib.repr(defect['input'])}"
        ) from error


def write_config(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML, which is accepted back as a preset."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """All dotted keys."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def differences(one: Config, other: Config) -> list[str]:
    """Dotted keys in which two configurations differ, with both values, but for those that change no result."""
    return [
        f"{key} ({value_of(one, key)!r}, {value_of(other, key)!r})"
        for key in known_keys()
        if not key.startswith(WITHOUT_EFFECT[one.method]) and value_of(one, key) != value_of(other, key)
    ]


def value_of(config: BaseModel, key: str) -> Any:
    """Value of a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _read_preset(preset: str) -> dict[str, Any]:
    if preset in PRESETS:
        text = resources.files("vagan.training.presets").joinpath(f"{preset}.yaml").read_text(encoding="utf-8")
    elif preset.endswith((".yaml", ".yml")):
        try:
            text = read_text(Path(preset))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the preset {preset}: {error}; give a YAML file in UTF-8, such as a run's config.yaml"
            ) from error
    else:
        raise ConfigError(f"{preset!r} is neither a preset nor a .yaml file; {nearest(preset, PRESETS)}")
    values = parse_yaml(text, where=preset)
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{preset} must hold keys and values, found {type(values).__name__}")
    return values or {}
