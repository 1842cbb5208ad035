# %% [markdown]
# # Your own NIfTI volumes, from a BIDS dataset
#
# From a BIDS dataset of volumes on one grid, such as derivatives of a pipeline, to an effect map on the grid of a new
# file. The volumes are generated here: smooth noise of 16×18×16 voxels, with two bright boxes in patients. All steps
# are the actual ones, but **training takes only seconds, far too short for good maps.**

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd

from vagan.data.sources.synthetic import make_case

# as written by many scanners: first axis towards the left, voxels of 3×2×2.5 mm, origin in the middle
TO_MM = np.diag([-3.0, 2.0, 2.5, 1.0])
TO_MM[:3, 3] = 24, -18, -20

people = pd.DataFrame({"participant_id": [f"sub-{number:03d}" for number in range(1, 61)]})
people["group"] = ["control", "patient"] * 30
people["age"] = [60 + number % 13 for number in range(60)]
for number, person in people.iterrows():
    subtype = "AB"[number // 2 % 2] if person["group"] == "patient" else ""
    volume = make_case(number, subtype=subtype, size=(16, 18, 16), intensity="fixed").image
    path = Path("bids", person["participant_id"], "anat", f"{person['participant_id']}_desc-preproc_T1w.nii.gz")
    path.parent.mkdir(parents=True)
    nibabel.Nifti1Image(volume * 500 + 500, TO_MM).to_filename(path)
people.to_csv("bids/participants.tsv", sep="\t", index=False)
Path("bids/dataset_description.json").write_text(json.dumps({"Name": "drawn", "BIDSVersion": "1.9.0"}))
people.head(3)

# %% [markdown]
# **Import.** The class is a column of `participants.tsv`, or of `sub-*_sessions.tsv` if it changes over time. The
# other columns are kept, and `vagan check` reports how far the classes differ in them. All scans of a subject are in
# the same split. `control` is recognised as the baseline class.

# %% language="bash"
# vagan import bids bids cohort --class-column group

# %% [markdown]
# *Raw* scans, in any orientation and with skull, go through `vagan preprocess bids prepared --class-column group`
# instead, which creates the cohort `prepared/cohort`; everything below stays the same.
#
# **Train.** Sixty subjects are far too few (with fewer than a few hundred per class the networks overfit), and this
# is a small fraction of a full training.

# %% language="bash"
# vagan train cohort run --set training.generator_updates=12 training.batch_size=4 training.validation_images=4 \
#     schedule.critic_updates=3 schedule.boosted_critic_updates=20 schedule.distillation_updates=4 \
#     generator.width=8 critic.width=8

# %% [markdown]
# **Attribute.** The map of a NIfTI file has the same grid: same shape, same affine.

# %% language="bash"
# vagan attribute run bids/sub-00[24]/anat/*.nii.gz --out maps
# ls maps

# %%
maps = sorted(Path("maps").glob("*_effect.nii.gz"))
scans = [next(Path("bids").rglob(path.name.replace("_effect", ""))) for path in maps]
for path, scan in zip(maps, scans, strict=True):
    effect, image = nibabel.load(path), nibabel.load(scan)
    axes = "".join(nibabel.aff2axcodes(effect.affine))
    print(path.name, effect.shape, axes, "same grid:", np.array_equal(effect.affine, image.affine))

# %%
figure, axes = plt.subplots(1, 4, figsize=(7, 2.3), layout="constrained")
for (left, right), path, scan in zip(axes.reshape(2, 2), maps, scans, strict=True):
    image, effect = (nibabel.as_closest_canonical(nibabel.load(file)).get_fdata() for file in (scan, path))
    middle = image.shape[2] // 2
    left.imshow(image[:, :, middle].T[::-1], cmap="gray")
    right.imshow(effect[:, :, middle].T[::-1], cmap="RdBu_r", vmin=-0.3, vmax=0.3)
    left.set_title(path.name.split("_")[0], fontsize=9)
    right.set_title("effect", fontsize=9)
for place in axes.flat:
    place.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# For realistic volumes and their memory requirements see *Training on volumes*.
