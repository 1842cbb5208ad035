"""A map generator as a MONAI bundle: `python -m monai.bundle run` gives the maps of `vagan attribute`."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vagan.effect import SIGN
from vagan.errors import require_extra
from vagan.exporting.applied import load_applied
from vagan.exporting.card import CARD, model_card
from vagan.files import new_folder
from vagan.model.folder import ModelSpec, save_model

CONFIGS, MODELS, DOCS = "configs", "models", "docs"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
PACKAGES = {"vagan": "vagan", "safetensors": "safetensors", "pytorch-ignite": "pytorch-ignite", "nibabel": "nibabel"}
PARTS = "vagan.exporting.monai_parts"


def export_monai(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write a bundle: ``configs``, ``docs/README.md``, and ``models``, a model folder as `vagan attribute` takes it.

    Parameters
    ----------
    run, out, results
        See `vagan.exporting.hub.export_hub`.

    Raises
    ------
    MissingExtraError
        If an optional package is not installed.
    ModelError
        If it is no map generator.
    """
    require_extra("monai", "monai", "ignite", what="--format monai")
    network, facts = load_applied(run)
    card = model_card("monai.md.j2", run, facts, results)
    with new_folder(out, frozenset({CONFIGS, MODELS, DOCS})) as folder:
        for name in (CONFIGS, MODELS, DOCS):
            (folder / name).mkdir()
        _write(folder / CONFIGS / "metadata.json", _metadata(facts))
        _write(folder / CONFIGS / "inference.json", _inference())
        save_model(folder / MODELS, network.generator, facts)
        (folder / DOCS / CARD).write_text(card, encoding="utf-8")
    return out


def _metadata(facts: ModelSpec) -> dict[str, Any]:
    """What the bundle specification asks for. Class names stand within sentences: MONAI runs what begins with a $."""
    baseline, *interests = facts.classes
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(package) for name, package in PACKAGES.items()},
        "name": f"Effect of {', '.join(interests)}",
        "task": f"Show in each image what {', '.join(interests)} put there, against {baseline}",
        "description": "Map generator of VA-GAN (Baumgartner et al., CVPR 2018): the image less its effect is the "
        f"image as if of the class {baseline}. No diagnosis: it draws a map for every image.",
        "authors": "Fill in before you publish",
        "copyright": "Fill in before you publish; the weights are bound to the licence of their data",
        "intended_use": "Research; not for diagnosis",
        "image_classes": "prepared images: from -1, the background, to 1",
        "pred_classes": SIGN,
        "network_data_format": {
            "inputs": {"image": _tensor(facts, "image", value_range=[-1, 1])},
            "outputs": {"pred": _tensor(facts, "effect", value_range=[-2, 2])},
        },
    }


def _tensor(facts: ModelSpec, content: str, *, value_range: list[int]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "MR" if facts.pipeline else "n/a",
        "num_channels": facts.channels,
        "spatial_shape": ["*"] * facts.num_spatial_dims,
        "dtype": "float32",
        "value_range": value_range,
        "is_patch_data": False,
        "channel_def": {str(number): content for number in range(facts.channels)},
    }


def _inference() -> dict[str, Any]:
    """In the model zoo's names, so that programs that take bundles find the parts."""
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/maps'",
        "interest": "",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "model_dir": f"$@bundle_root + '/{MODELS}'",
        "datalist": {"_target_": f"{PARTS}.image_files", "folder": "@dataset_dir"},
        "network_def": {"_target_": f"{PARTS}.EffectNetwork", "folder": "@model_dir", "interest": "@interest"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": f"{PARTS}.ReadPreparedd", "key": "image", "folder": "@model_dir"}],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{PARTS}.WriteMapd",
                    "key": "pred",
                    "like": "image",
                    "folder": "@model_dir",
                    "output_dir": "@output_dir",
                }
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
