"""Export as a model folder with a card, for model hubs."""

from pathlib import Path

from vagan.exporting.card import CARD, model_card, shareable
from vagan.files import FolderKind, new_folder
from vagan.model.folder import CONFIG, WEIGHTS, load_model, save_model
from vagan.model.ood import OOD_FILE, MahalanobisOOD

EXPORT = FolderKind((CONFIG, WEIGHTS, OOD_FILE, CARD), CONFIG, '"cohort_hash"')


def export_hub(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write ``config.json``, ``model.safetensors`` and a model card, without identifiers of subjects or images.

    ``run`` is a run folder or a model folder; ``out`` new or empty, or an older export, which is replaced. It can be
    used in place of a run. The card shows the scores in ``results``, a results folder of `vagan evaluate`.
    """
    network, spec = load_model(run)
    card = model_card("hub.md.j2", run, spec, results)
    ood = MahalanobisOOD.load(run)
    with new_folder(out, EXPORT) as folder:
        save_model(folder, network, shareable(spec))
        if ood is not None:
            ood.save(folder)
        (folder / CARD).write_text(card, encoding="utf-8")
    return out
