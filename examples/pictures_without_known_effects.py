# %% [markdown]
# # Photographs without known effects
#
# What makes a pullover a pullover, and not a t-shirt? Nobody knows the true maps of real pictures. This notebook goes
# from two folders of pictures to a figure and a table whose scores need no truth, in about five minutes on two cores.
# The pictures are those of Fashion-MNIST, 28×28 pixels, where Debian's package `dataset-fashion-mnist` puts them;
# replace the first cell by folders of your own.

# %%
import gzip
import json
from pathlib import Path

import numpy as np
from PIL import Image

from vagan import Attributor, Cohort

SOURCE = Path("/usr/share/datasets/fashion-mnist")


def read(name, header):
    """The bytes of a compressed IDX file behind its header."""
    return np.frombuffer(gzip.decompress((SOURCE / name).read_bytes()), np.uint8, offset=header)


pictures = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
labels = read("train-labels-idx1-ubyte.gz", 8)
for name, label in {"t-shirt": 0, "pullover": 2}.items():
    (Path("pictures") / name).mkdir(parents=True)
    for number in np.flatnonzero(labels == label)[:3000]:
        Image.fromarray(pictures[number]).save(f"pictures/{name}/{number:05}.png")

# %% [markdown]
# ## Train
#
# The baseline class is that to which pictures are changed. Two classifiers of different architectures, which the map
# generator never sees, will score the counterfactuals. For a paper, train three seeds; this is one.

# %% language="bash"
# vagan import folder pictures cohort --baseline t-shirt
# vagan train cohort run
# vagan train cohort classifier --method classifier --set training.seed=1000 training.batch_size=16
# vagan train cohort cam-classifier --method cam-classifier --set training.seed=1000 training.batch_size=16

# %% [markdown]
# How was the model chosen? Distillation is kept only where it leaves effects their size; sleeves depend on the
# pullover that they belong to, and cannot be recovered from any t-shirt.

# %%
print(json.loads(Path("run/model/config.json").read_text())["rule"])

# %% [markdown]
# ## The table
#
# The group mean difference is the control: the same map for every picture. The last rows are real pictures. The
# verdict says in words whether the maps are better than the control.

# %% language="bash"
# vagan evaluate cohort run --classifier classifier cam-classifier --methods vagan group-mean-difference --out results

# %% [markdown]
# All scores, and what they mean: a *flip rate* near that of real t-shirts says that classifiers take counterfactuals
# for t-shirts; a small *kernel distance* that they look like them as a set. *M(x0)/M(x1)* is the size of the maps of
# t-shirts relative to those of pullovers, *empty maps* the share of pullovers whose map is not larger than those of
# t-shirts, and the *residual effect* what is found in a counterfactual again.

# %%
scores = json.loads(Path("results/summary.json").read_text())["methods"]
names = ["flip_rate", "flip_rate/cam-classifier", "kernel_distance", "baseline_response_ratio", "empty_map"]
for method, found in scores.items():
    print(f"{method:24}", *(f"{name} {found[name]['mean']:.2f}" for name in names if name in found))

# %% [markdown]
# ## The figure
#
# Random test pictures, their counterfactuals and effects, in one colour range. Red is what makes the picture a
# pullover, blue what a t-shirt would have instead.

# %%
cohort = Cohort("cohort")
model = Attributor.load("run")
model.attribute(cohort.select(split="test", label=1)[:6]).plot()

# %% [markdown]
# T-shirts should stay as they are:

# %%
model.attribute(cohort.select(split="test", label=0)[:3]).plot()

# %% [markdown]
# No score replaces looking at the pictures: classifiers can be flipped by changes that are hardly visible. `vagan
# report results` makes a page of table, scores and examples, and the how-to *Pictures without known effects* lists
# what a paper should report.
