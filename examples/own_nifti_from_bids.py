# %% [markdown]
# # Your own NIfTI volumes, from a BIDS dataset
#
# From a BIDS tree of volumes on one grid, such as the derivatives of a pipeline, to an effect map on a file's own
# grid. The volumes are drawn here, so that the example runs anywhere: smooth noise of 16×18×16 voxels, to which
# patients add two bright boxes. The training takes seconds: **every step is real, and the map is that of a training
# that is far too short.**

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd

from vagan.data.sources.synthetic import make_case

# files as many scanners write them: the first axis to the left, voxels of 3×2×2.5 mm, the origin in the middle
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
# **Import.** The class is in a column of `participants.tsv`, or of `sub-*_sessions.tsv` where it changes over time;
# the other columns are kept, and `vagan check` tells how far the classes lie apart in them. Scans of a subject stay
# in one part. `control` is one of the names by which a baseline class is known.

# %% language="bash"
# vagan import bids bids cohort --class-column group

# %% [markdown]
# *Raw* scans, of any orientation and with their skulls, go through `vagan preprocess bids prepared --class-column
# group` instead, which makes the cohort `prepared/cohort`; everything below is the same.
#
# **Train.** Sixty people are far too few (below some hundreds of each class the networks learn their images by
# heart), and this is a small part of a training.

# %% language="bash"
# vagan train cohort run --set training.generator_updates=12 training.batch_size=4 training.validation_images=4 \
#     schedule.critic_updates=3 schedule.boosted_critic_updates=20 schedule.distillation_updates=4 \
#     generator.width=8 critic.width=8

# %% [markdown]
# **Attribute.** The map of a NIfTI file is a NIfTI file on the same grid: same shape, same affine.

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
# For the training of real volumes, and the memory that it takes, see *Train on volumes*.
