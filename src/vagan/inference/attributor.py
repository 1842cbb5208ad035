"""From run folders to attributions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map_only

from vagan.attribution.method import AttributionMethod, Convention, require_images
from vagan.attribution.registry import METHODS, find_slug
from vagan.attribution.vagan import VAGAN, Explanation
from vagan.data.cohort import Cohort, Selection
from vagan.effect import SIGN, SIGN_INSERTION, without_effect
from vagan.errors import ConfigError, NotEnoughMemoryError
from vagan.files import replacing
from vagan.inference import files, strategies
from vagan.inference.attribution import Attribution, SavedMaps, SourceImage
from vagan.inference.covariates import GivenCovariates, covariate_table
from vagan.inference.overlay import Overlays, contact_sheets
from vagan.inference.strategies import ALWAYS_OF_INTEREST, REJECT_INTERVAL, ClassGate, RejectInterval
from vagan.model.folder import ModelSpec, TrainedModel, require_alike, select_class
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.conditioning import Condition
from vagan.nn.unet import MapGenerator
from vagan.progress import track
from vagan.training.engine.memory import free_bytes, peak_bytes
from vagan.types import Images, Maps, Scores

Run = Path | str
Files = Run | Sequence[Run]

SMALL_VALUES = 2**21
"""A batch of no more is not asked about."""
RESULT_BYTES = 48
"""For each value of an image: the image, its map, what is derived from them, and copies for files."""

_READING: dict[Convention, str] = {
    "signed": "positive: what is there, and bright, is evidence for the class; negative: evidence against it",
    "absolute": "the magnitude, whatever the sign, is the importance of a place",
    "positive": "positive values are evidence for the class; negative ones are not read",
}


class Attributor:
    """Attributions by one model, or by the mean of several; made by `load`.

    Attributes: ``name`` for tables, ``unit`` and ``convention`` of the maps, ``cost`` (approximate number of forward
    passes per map); one of the ``methods`` for each model, the ``covariates`` they are conditioned on, and the
    ``runs`` they are from; the ``gate``, classifier of predicted classes, with the ``reject_interval`` in which it
    abstains, None where maps are weighted by its probabilities; the ``device`` of the networks.
    """

    def __init__(
        self,
        methods: Sequence[AttributionMethod],
        spec: ModelSpec | None = None,
        *,
        gate: ClassGate | None = None,
        reject_interval: RejectInterval | None = REJECT_INTERVAL,
        device: torch.device | str = "cpu",
        runs: Sequence[Path] = (),
    ) -> None:
        conventions = sorted({f"{method.convention}, {method.unit}" for method in methods})
        if len(conventions) != 1:
            found = " and ".join(conventions) or "no method"
            raise ConfigError(f"methods of an ensemble must agree in convention and unit: found {found}")
        first = methods[0]
        self.methods, self._spec, self.device = tuple(methods), spec, torch.device(device)
        self.runs = tuple(runs)
        self.unit, self.convention = first.unit, first.convention
        self.covariates = first.covariates if isinstance(first, VAGAN) else ()
        self.cost = sum(method.cost for method in methods)
        self.gate, self.reject_interval = gate, reject_interval
        self._sign = SIGN if self.unit == "intensity" else _READING[self.convention]
        if isinstance(first, VAGAN) and first.insert:
            self._sign = SIGN_INSERTION
        several = "" if len(methods) == 1 else f", mean of {len(methods)}"
        predicted = ", expected effect" if reject_interval is None else ", predicted classes"
        self.name = f"{first.name}{several}{predicted if gate else ''}"

    @classmethod
    def load(
        cls,
        run: Files | TrainedModel | Sequence[TrainedModel],
        method: str = "",
        *,
        class_of_interest: str = "",
        insert: bool = False,
        predict_class: bool = False,
        expected: bool = False,
        reject_interval: RejectInterval = REJECT_INTERVAL,
        device: torch.device | str = "cpu",
    ) -> "Attributor":
        """Read a run folder or model folder; of several, the mean of their maps is the effect.

        Raises `ConfigError` if there is no such method or class, the model cannot do this, or a choice must be made;
        `ModelError` if a folder holds no model, or a damaged one.

        Parameters
        ----------
        run
            Folder, or folders of the same cohort with different seeds; or models from them.
        method
            Slug in `vagan.attribution.registry.METHODS`; a map generator needs none.
        class_of_interest
            Needed where the model has several.
        insert
            What the class would do to images of the baseline class, by a bidirectional model.
        predict_class
            A classifier in the run folder predicts the class of each image; images of the baseline class get zero.
        expected
            The expected effect where the class is uncertain: maps of the most probable class of interest, multiplied
            by its probability as this classifier gives it.
        reject_interval
            Where it abstains; see `vagan.inference.strategies.decide`.
        device
            ``auto``, ``cpu``, ``cuda`` or ``mps``; models stay where they are.
        """
        from vagan.training.engine.device import find_device

        given = [run] if isinstance(run, Path | str | TrainedModel) else list(run)
        where = device if isinstance(device, torch.device) else find_device(device)
        models = [one if isinstance(one, TrainedModel) else TrainedModel.load(one, where) for one in given]
        require_alike(models)
        name = "expected" if expected else "predict_class"
        if predict_class and expected:
            raise ConfigError("`expected` excludes `predict_class`: either maps are weighted or a class is chosen")
        if (predict_class or expected) and (insert or class_of_interest or len(models) > 1):
            raise ConfigError(f"`{name}` excludes `insert`, `class_of_interest` and ensembles; leave them out")
        first, runs = models[0], [model.path for model in models]
        where = next(first.network.parameters()).device
        entry = METHODS[_chosen(first, method)]
        if entry.needs != "map-generator":
            if insert or predict_class or expected:
                found = f"{first.path} holds a {first.spec.kind}"
                raise ConfigError(f"`insert`, `predict_class` and `expected` need a map generator: {found}")
            narrowed, _ = select_class(first.spec, class_of_interest)
            methods = [entry.make() if entry.needs == "nothing" else entry.make(one.network) for one in models]
            return cls(methods, narrowed, device=where, runs=runs)
        gate, specs, conditions = None, [first.spec], [None]
        if predict_class or expected:
            gate = ClassGate.load(first.path, first.spec.classes, where)
        else:
            chosen = [select_class(one.spec, class_of_interest, insert=insert) for one in models]
            specs, conditions = map(list, zip(*chosen, strict=True))
        generators = [
            VAGAN(network, output=spec.output, condition=one, covariates=spec.covariates, insert=insert, ood=ood)
            for (_, network, spec, ood), one in zip(models, conditions, strict=True)
        ]
        made = cls(generators, specs[0], gate=gate, reject_interval=reject_interval, device=where, runs=runs)
        return made.expected() if expected else made

    def expected(self) -> "Attributor":
        """The same, but maps are multiplied by the probabilities of the classifier, which decides nothing."""
        if self.gate is None:
            raise ConfigError("expected effects need a classifier of the class; load the model with `expected`")
        if self.spec.output == "tanh":
            raise ConfigError("expected effects need a map of zero that changes nothing: not of the output tanh")
        return Attributor(
            self.methods, self._spec, gate=self.gate, reject_interval=None, device=self.device, runs=self.runs
        )

    def __repr__(self) -> str:
        spec = self._spec
        classes = "" if spec is None else f": {', '.join(spec.classes[1:])} against {spec.classes[0]}"
        return f"Attributor({self.name!r}{classes}, unit {self.unit!r})"

    @property
    def spec(self) -> ModelSpec:
        """Of the (first) model: its classes are the baseline class and that of interest; of predicted classes all."""
        if self._spec is None:
            raise ConfigError("a model from a run folder is needed, which knows how its images are prepared")
        return self._spec

    def attribute(
        self, images: Tensor | NDArray[Any] | Selection | Files, covariates: GivenCovariates = None
    ) -> Attribution:
        """One forward pass of each network.

        Parameters
        ----------
        images
            Prepared images ``(batch, channel, *space)`` as a tensor or array, a selection of a cohort, or one or more
            image files, which are prepared as the training images were and must then be of one shape.
        covariates
            Needed where the model is conditioned on them: a row per image, or the same values for all. A selection
            has its own.
        """
        if isinstance(images, np.ndarray | Tensor):
            tensor = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
            require_images(tensor)
            return self._attribute(tensor.float(), covariates, [str(number) for number in range(len(tensor))])
        if isinstance(images, Selection):
            known = images.covariates if covariates is None else covariates
            prepared, affine = images.images, images.cohort.metadata.affine
            return self._attribute(prepared, known, images.ids, files.as_files(prepared, images.ids, affine))
        paths = files.list_images(_paths(images), self.spec)
        sources = tuple(files.read_source(path, self.spec) for path in paths)
        return self._attribute(files.prepared_batch(sources), covariates, files.output_names(paths), sources)

    def effect(self, images: Images | Selection, covariates: GivenCovariates = None) -> Maps:
        """Effect maps alone; see `attribute`."""
        return self.attribute(images, covariates).effect

    def attribute_files(
        self, paths: Files, out: Run, *, covariates: GivenCovariates = None, threshold: float | None = None
    ) -> list[SavedMaps]:
        """Attribute image files one after the other and write maps named after them; see `Attribution.save`.

        Of a folder, the images in it. A contact sheet of all images is added, ``overview.png``, and more where they
        are many. Nothing is written before all files were read without an error.
        """
        paths, out = files.list_images(_paths(paths), self.spec), Path(out)
        names = files.output_names(paths)
        files.require_output(out, paths, names)
        if isinstance(covariates, pd.DataFrame) and not self.covariates:
            raise ConfigError("covariates were given, but the model was trained without any; leave them out")
        table = covariate_table(covariates, self.covariates, len(paths))
        saved, rows = [], []
        with Overlays() as overlays:
            for row, source in enumerate(track(files.read_sources(paths, self.spec), len(paths), "attributing")):
                known = None if table is None else table.iloc[[row]]
                one = self._attribute(files.prepared_batch([source]), known, [names[row]], [source])
                rows.append(one.row())
                saved.append(files.save_maps(one, source, out, names[row], overlays=overlays, threshold=threshold))
            overlays.write()
        for number, sheet in enumerate(contact_sheets(rows), start=1):
            with replacing(out / f"overview{f'-{number}' if number > 1 else ''}.png") as temporary:
                sheet.savefig(temporary, format="png", dpi=150)
        return saved

    def _attribute(
        self, images: Images, covariates: GivenCovariates, names: Sequence[str], sources: Sequence[SourceImage] = ()
    ) -> Attribution:
        table = covariate_table(covariates, self.covariates, len(images))
        for method in self.methods:
            _require_memory(method, images.shape, self.device)
        inputs = images.to(self.device)
        decisions = condition = weights = None
        if self.gate is not None:
            decisions = self.gate.decide(inputs, self.reject_interval or ALWAYS_OF_INTEREST)
            condition = strategies.task_conditions(self.spec, decisions)
            if self.reject_interval is None:
                weights = strategies.probabilities_of(decisions, self.device)
        members = [self._explain(method, inputs, table, condition, weights) for method in self.methods]
        found, spread = strategies.combined(members)
        if decisions is not None:
            found = strategies.without_effect_in_baseline(found, inputs, decisions)
        # back to where the images are
        found, spread = tree_map_only(Tensor, lambda values: values.to(images.device), (found, spread))
        return Attribution(
            images=images,
            effect=found.effect,
            method=self.name,
            unit=self.unit,
            convention=self.convention,
            sign=self._sign,
            spec=self._spec,
            counterfactual=found.counterfactual,
            deformation=found.deformation,
            uncertainty=spread,
            members=len(members),
            decisions=decisions,
            reject_interval=None if decisions is None else self.reject_interval,
            ood_score=found.ood_score,
            ood_threshold=found.ood_threshold,
            covariates=table,
            names=tuple(names),
            sources=tuple(sources),
        )

    def _explain(
        self,
        method: AttributionMethod,
        images: Images,
        covariates: pd.DataFrame | None,
        condition: Condition | None,
        weights: Scores | None,
    ) -> Explanation:
        if not isinstance(method, VAGAN):
            effect = method.attribute(images, covariates)
            return Explanation(effect, without_effect(images, effect) if method.unit == "intensity" else None)
        return method.explain(images, covariates, condition=condition, weights=weights)


load = Attributor.load


def fit(
    cohort: Cohort, out: Path | str, *, preset: str = "fast", seed: int = 0, settings: Mapping[str, Any] | None = None
) -> Attributor:
    """Train a map generator, or resume its training, and return its attributor.

    Only training and validation images of the cohort are used. ``out`` is the run folder; for ``preset`` and
    ``settings`` (typed values, such as ``{"training.batch_size": 8}``) see `vagan.training.config.load_config`.
    """
    from vagan.training.config import load_config
    from vagan.training.engine.loop import train

    return Attributor.load(train(cohort, out, load_config(preset, {"training.seed": seed, **(settings or {})})).path)


def _require_memory(method: AttributionMethod, shape: Sequence[int], device: torch.device) -> None:
    """Raise `NotEnoughMemoryError` if a map of images ``(batch, channel, *space)`` needs more than is free."""
    size = torch.Size(shape)
    free = free_bytes(device) if size.numel() > SMALL_VALUES else None
    if free is None:
        return
    networks = [part for part in vars(method).values() if isinstance(part, MapGenerator | Classifier | CAMClassifier)]
    kept = [peak_bytes(one, size, derivatives=not isinstance(one, MapGenerator)) for one in networks]
    needed = max(kept, default=0) + RESULT_BYTES * size.numel()
    if needed > free:
        extents = " x ".join(map(str, shape[2:]))
        raise NotEnoughMemoryError(
            f"the map of an image of {extents} needs about {needed / 2**30:.1f} GB of memory, but "
            f"{free / 2**30:.1f} GB are free on {device}; crop the image, or reduce its resolution"
        )


def _chosen(model: TrainedModel, slug: str) -> str:
    """The method, if it can explain the model; a map generator explains itself."""
    kind = model.spec.kind
    if slug:
        slug = find_slug(slug)
    elif kind == "map-generator":
        slug = "vagan"
    fitting = [known for known, entry in METHODS.items() if entry.explains(kind)]
    if slug not in fitting:
        problem = f"{slug} cannot explain it" if slug else "a method must be chosen"
        raise ConfigError(f"{model.path} holds a {kind}: {problem}; choose one of {', '.join(fitting)}")
    return slug


def _paths(given: Files) -> list[Path]:
    return [Path(file) for file in ([given] if isinstance(given, Path | str) else given)]
