# %% [markdown]
# # Read a score table
#
# The output of `vagan evaluate`, and what can be concluded from it. Training is much too short for good maps here
# (images of 32×28 pixels, half a minute on two cores), which does not affect how to read the table.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from vagan import load_config, make_synthetic_cohort, train
from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
from vagan.evaluation.statistics import bootstrap_interval

cohort = make_synthetic_cohort("cohort", n=800, size=(32, 28), intensity="fixed")
small = {"generator.width": "8", "critic.width": "8", "classifier.width": "8"}
for name, settings in {
    "run": {"training.generator_updates": "30"},
    "classifier": {"method": "classifier", "classifier.updates": "60"},
}.items():
    train(cohort, name, load_config("fast", small | settings))
evaluate_runs(cohort, [Path("run"), Path("classifier")], Path("results"), EvaluationOptions(limit=40, subset=4))
sorted(path.name for path in Path("results").iterdir())

# %% [markdown]
# **One row per case, method and metric.** All other tables can be recomputed from this file.

# %%
scores = pd.read_csv("results/scores.csv", dtype={"case": str, "subject": str})
scores.head()

# %% [markdown]
# **Means.** `ncc` is the correlation of map and effect over all pixels, the paper's score. Start with the two rows
# that bound the others: the *ceiling*, reached by the exact counterfactual, and the *random map*.

# %%
patients = scores[scores["label"] == 1]
means = patients.pivot_table(index="method", columns="metric", values="value")
means[["ncc", "average_precision", "pointing_game"]].sort_values("ncc", ascending=False).round(3)

# %% [markdown]
# **Intervals.** Images of one subject are not independent, so intervals resample subjects. They quantify variation
# over test images, not over trainings; for the latter, train several seeds.

# %%
summary = json.loads(Path("results/summary.json").read_text())["methods"]
bars = sorted(
    (entry["ncc"]["mean"], *entry["ncc"]["ci95"], entry["ncc"]["n"], name) for name, entry in summary.items()
)
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for height, (mean, low, high, *_) in enumerate(bars):
    axes.plot([low, high], [height, height], color="#3579b8", linewidth=2)
    axes.plot(mean, height, "o", color="#1f2328", markersize=4)
axes.set_yticks(range(len(bars)), [f"{name} (n={number})" for *_, number, name in bars], fontsize=8)
axes.axvline(0, color="#7d8590", linewidth=0.5)
axes.set_xlabel("NCC, mean and 95 % interval")
plt.show()

# %% [markdown]
# **Check n.** Methods that need hundreds of forward passes per map were scored on four images only; their intervals
# are wide.
#
# **Compare in pairs.** Both methods were applied to the same images, so compare image by image rather than by
# overlapping intervals.

# %%
by_case = patients[patients["metric"] == "ncc"].pivot_table(index="case", columns="method", values="value")
difference = (by_case["VA-GAN"] - by_case["group mean difference"]).dropna()
low, high = bootstrap_interval(difference.to_numpy())
print(f"VA-GAN - group mean difference: {difference.mean():.3f}, 95 % [{low:.3f}, {high:.3f}], n = {len(difference)}")

# %% [markdown]
# **What NCC does not measure**: the amplitude of maps, and the response where there is no effect. `amplitude_slope`
# should be 1 for maps in units of intensity (it is meaningless for gradients and class scores).
# `baseline_response_ratio`, the size of maps of baseline images relative to patients, should be 0; it is 1 for a
# method that returns the same map for every image, however high its NCC.

# %%
shown = ("ncc", "amplitude_slope", "baseline_response_ratio")
pd.DataFrame(
    {name: {score: entry.get(score, {}).get("mean") for score in shown} for name, entry in summary.items()}
).T.sort_values("ncc", ascending=False).round(3)

# %% [markdown]
# **Inspect individual images**, the worst ones first, before relying on means.

# %%
worst = by_case["VA-GAN"].nsmallest(3)
print(worst.round(3).to_string())
rows = [int(position) for position in cohort.manifest.table.index[cohort.manifest.table["id"].isin(worst.index)]]
figure, axes = plt.subplots(1, 3, figsize=(5, 2.2), layout="constrained")
for place, image, effect in zip(axes, cohort.images(rows), cohort.effects(rows), strict=True):
    place.imshow(image.squeeze(), cmap="gray", vmin=-1, vmax=1)
    place.contour(effect.squeeze(), levels=[0.5], colors="#c8701a", linewidths=1)
    place.set(xticks=[], yticks=[])
plt.show()
