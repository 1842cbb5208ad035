"""Selection of one image per visit, by the rule of the paper's authors."""

import re
from collections.abc import Sequence
from typing import Literal

from vagan.data.sources.adni.images import ImageFacts

Preference = Literal["processed", "original"]

_T1 = re.compile(r"mp_?rage|mpr(?![a-z])|spgr|^mt1|(^|_)t1(w|_|$)")
_NOT_T1 = re.compile(
    r"localizer|scout|survey|field_?map|calibration|flair|hippo|mask|segment|spatially_normalized|perfusion|phantom|"
    r"resting|(^|_)(dti|asl|pcasl|fmri|t2|pd)(?![a-z])"
)
_REPEAT = re.compile(r"(^|_)mpr_?r(_|$)|repeat|(^|_)rpt(_|$)|(^|_)rep(_|$)")
_PROCESSED = re.compile(r"gradwarp|(^|_)n3m?(_|$)|b1_correction|(^|_)mt1(_|$)")


def plain(description: str) -> str:
    """``MPR; GradWarp; B1 Correction; N3`` and the folder ``MPR__GradWarp__B1_Correction__N3`` in one spelling."""
    return re.sub(r"[^a-z0-9]+", "_", description.lower()).strip("_")


def refusal(facts: ImageFacts) -> str:
    """Why an image cannot be a usable T1-weighted one; an empty string if it can."""
    named, folder = plain(facts.description), plain(facts.scan.description)
    if facts.series_type and not facts.series_type.upper().startswith("T1"):
        return f"not T1-weighted: series type {facts.series_type}"
    if (not facts.series_type and (not _T1.search(named) or _NOT_T1.search(named))) or _NOT_T1.search(folder):
        return f"not known as T1-weighted: {facts.description or 'no description'}"
    if re.search(r"(^|_)nd(_|$)", named) or re.search(r"(^|_)nd(_|$)", folder):
        return f"without correction of the gradients' distortion: {facts.description}"
    return ""


def is_repeat(facts: ImageFacts) -> bool:
    """Whether it is the visit's second scan of the same kind."""
    return bool(_REPEAT.search(plain(facts.description)) or _REPEAT.search(plain(facts.scan.description)))


def in_order(images: Sequence[ImageFacts], prefer: Preference) -> list[ImageFacts]:
    """T1-weighted images of one visit and field strength, the one to take first.

    The authors take an image with GradWarp before one without, then one from the MT1 pipeline, then one with B1
    correction: ``MT1__GradWarp__N3m``, ``MPR__GradWarp__B1_Correction__N3``, ``MPR__GradWarp__N3``, ``MT1__N3m``,
    ``MPR____N3``. Before that, a repeated scan comes after the first one, an image scaled to another's size after an
    unscaled one, and ``original`` puts unprocessed images in front. What is still equal goes by image number.
    """

    def rank(facts: ImageFacts) -> tuple[bool | int, ...]:
        name = plain(
            facts.scan.description if _PROCESSED.search(plain(facts.scan.description)) else facts.description
        )
        processed = bool(_PROCESSED.search(name))
        return (
            is_repeat(facts),
            processed == (prefer == "original"),
            "scaled" in name,
            "gradwarp" not in name,
            re.search(r"(^|_)mt1(_|$)", name) is None,
            "b1_correction" not in name,
            int(facts.scan.image_id or 0),
        )

    return sorted(images, key=rank)
