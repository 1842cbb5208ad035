"""What scores are called, and what they say, for readers of a report."""

LABELS = {
    "ncc": "NCC",
    "ncc_brain": "NCC, brain",
    "ncc_brain_by_subject": "NCC, brain, by subject",
    "average_precision": "Average precision",
    "relevance_mass": "Relevance mass",
    "relevance_rank": "Relevance rank",
    "pointing_game": "Pointing game",
    "amplitude_slope": "Amplitude slope",
    "dice": "Dice",
    "iou": "IoU",
    "box_iou": "Box IoU",
    "lesion_recall": "Lesions found",
    "false_lesions": "False lesions",
    "severity_correlation": "Severity correlation",
    "spread_error": "Spread and error",
    "energy": "Map size",
    "energy_ratio": "Map size ratio",
    "flip_rate": "Flip rate",
    "probability_drop": "Probability drop",
    "relative_change": "Relative change",
    "kernel_distance": "Kernel distance",
}
PARTS = {"recall": "Recall", "regional": "Regional means"}

MEANINGS = {
    "ncc": "normalised cross-correlation of the map with the observed effect; higher is better, 1 is perfect, 0 is "
    "unrelated",
    "average_precision": "area under the precision-recall curve for finding affected pixels; higher is better",
    "relevance_mass": "share of the map's total size inside the affected region; higher is better",
    "relevance_rank": "share of the strongest pixels, as many as are affected, that lie in the affected region; "
    "higher is better",
    "pointing_game": "share of the images whose strongest pixel is affected; higher is better",
    "amplitude_slope": "slope of the map on the known effect inside the affected region; best where it equals the "
    "ceiling's (1 if effects are in image units), less is too faint",
    "dice": "overlap of the thresholded map with the affected region; higher is better",
    "iou": "intersection over union of the thresholded map and the affected region; higher is better",
    "box_iou": "overlap of each lesion's box with the best box of the thresholded map; higher is better",
    "lesion_recall": "share of the lesions of which at least a tenth is marked; higher is better, but read it with "
    "the false ones",
    "false_lesions": "number of marked components that are not affected, for each image; lower is better",
    "severity_correlation": "rank correlation, over images, of the map's size with the severity; higher is better",
    "spread_error": "rank correlation, over pixels, of the members' spread with the error of their mean; higher is "
    "better",
    "energy": "mean absolute value of the map, in its own units",
    "energy_ratio": "size of the maps on baseline images, where no effect is to be found, over that on the class of "
    "interest; lower is better",
    "flip_rate": "share of the images that an independent classifier takes for baseline images without the map's "
    "effect; higher is better",
    "probability_drop": "by how much the class becomes less probable to an independent classifier without the map's "
    "effect",
    "relative_change": "size of the map over that of the image's contrast: how much had to change; lower is better",
    "kernel_distance": "distance of the images without the map's effect from baseline images, in an independent "
    "classifier's features; best near that of other baseline images",
}
PART_MEANINGS = {
    "recall": "share of this part's squared effect under the strongest pixels, as many as are affected in all; "
    "higher is better",
    "regional": "rank correlation, over images, of the map's mean in this region with the effect's; higher is better",
}

WITHOUT_TRUTH = (
    "energy",
    "energy_ratio",
    "flip_rate",
    "probability_drop",
    "relative_change",
    "kernel_distance",
    "severity_correlation",
)
"""Metrics that need no known effects, and so cannot tell which map is right."""


def label_of(metric: str) -> str:
    """Name of a metric for readers; one that is not known is called by its key."""
    kind, _, part = metric.partition("/")
    return f"{PARTS[kind]}, {part.replace('_', ' ')}" if kind in PARTS else LABELS.get(metric, metric)


def meaning_of(metric: str) -> str:
    """What a metric says, and which values are good."""
    kind = metric.partition("/")[0]
    return PART_MEANINGS.get(kind) or MEANINGS.get(metric) or f"see the documentation of the metric {metric}"
