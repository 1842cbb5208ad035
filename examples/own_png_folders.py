# %% [markdown]
# # Your own images, one folder per class
#
# From PNG files to the map of a new image, on the command line. The images are generated here: smooth noise, to which
# the class `sick` adds two bright discs. Replace them by yours: PNG, JPEG, TIFF or NumPy files in one folder per
# class, all of one size (otherwise add `--size HEIGHTxWIDTH`). The baseline class is the one called healthy,
# baseline, control, normal, CN or 0; otherwise name it with `--baseline`.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from vagan.data.sources.synthetic import make_case


def draw(path, index, subtype):
    """Write one image of 32×28 pixels, all on one intensity scale."""
    case = make_case(index, subtype=subtype, size=(32, 28), intensity="fixed", pattern="discs")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((case.image + 1) * 127.5).round().astype(np.uint8)).save(path)


for index in range(400):
    name, subtype = [("healthy", ""), ("sick", "A"), ("healthy", ""), ("sick", "B")][index % 4]
    draw(Path("pictures") / name / f"{index:04d}.png", index, subtype)
for index in (9001, 9003):
    draw(Path("new") / f"{index}.png", index, "A" if index == 9001 else "")

# %% [markdown]
# **Import** reads every file, lists what it excluded, and splits the images into training, validation and test sets.
# One intensity range is used for all images; use `--intensity per-image` if yours share none. If a patient has
# several images, `--subject-pattern` keeps them in one set.

# %% language="bash"
# vagan import folder pictures cohort

# %% [markdown]
# **Check** lists all defects. With `--confounders` it tests whether the classes can be separated by corners, border
# or brightness alone; anything it warns of would appear in maps. `perhaps` may be an effect of the class itself, as
# here, where the discs make an image brighter. Corners and border carry no information about the class.

# %% language="bash"
# vagan check cohort --confounders

# %% [markdown]
# **Train.** Repeating the command resumes. Without `--set`, training is four times as long; this one is **too short
# for the best maps**.

# %% language="bash"
# vagan train cohort run --set training.generator_updates=60

# %% [markdown]
# **Attribute** computes maps of new images: `_effect.npy` at the size of the image, an overlay, and a sidecar. The
# second image is healthy; its map should be nearly empty.

# %% language="bash"
# vagan attribute run new/9001.png new/9003.png --out maps
# ls maps

# %%
figure, axes = plt.subplots(2, 3, figsize=(6, 4.6), layout="constrained")
for row, (name, title) in zip(axes, (("9001", "sick"), ("9003", "healthy")), strict=True):
    effect = np.load(f"maps/{name}_effect.npy").squeeze()
    row[0].imshow(Image.open(f"new/{name}.png"), cmap="gray", vmin=0, vmax=255)
    row[1].imshow(effect, cmap="RdBu_r", vmin=-0.4, vmax=0.4)
    row[2].imshow(Image.open(f"maps/{name}_overlay.png"))
    row[0].set_ylabel(title)
for place, title in zip(axes[0], ("picture", "effect", "overlay"), strict=True):
    place.set_title(title, fontsize=9)
for place in axes.flat:
    place.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# All overlays of a call have one colour range, so that a nearly empty map looks empty; `overview.png` shows all
# images with their counterfactuals, effects and the colour bar. The sidecar describes the values.

# %%
json.loads(Path("maps/9001_effect.json").read_text())
