# %% [markdown]
# # Your own pictures, a folder for each class
#
# On the command line, from PNG files to a map for a new picture. The pictures are drawn here, so that the example
# runs anywhere: smooth noise, to which the class `sick` adds two bright discs. Put yours in their place: PNG, JPEG,
# TIFF or NumPy files in one folder for each class, of one size (or say `--size HEIGHTxWIDTH`). The baseline class
# is the one called healthy, baseline, control, normal, CN or 0; otherwise name it with `--baseline`.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from vagan.data.sources.synthetic import make_case


def draw(path, index, subtype):
    """Write one picture of 32×28 pixels, all on one scale, as a camera or a scanner would."""
    case = make_case(index, subtype=subtype, size=(32, 28), intensity="fixed", pattern="discs")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((case.image + 1) * 127.5).round().astype(np.uint8)).save(path)


for index in range(400):
    name, subtype = [("healthy", ""), ("sick", "A"), ("healthy", ""), ("sick", "B")][index % 4]
    draw(Path("pictures") / name / f"{index:04d}.png", index, subtype)
for index in (9001, 9003):
    draw(Path("new") / f"{index}.png", index, "A" if index == 9001 else "")

# %% [markdown]
# **Import** reads every file, says what it left out, and divides into training, validation and test parts. One
# range of intensities serves all pictures; say `--intensity per-image` if yours share none. Several pictures of a
# patient? Give `--subject-pattern`, so that no patient is in two parts.

# %% language="bash"
# vagan import folder pictures cohort

# %% [markdown]
# **Check** lists every defect at once. With `--confounders` it asks whether the classes could be told apart by what
# should not matter: corners, border, brightness. What it warns of, a map would show. `perhaps` may be the class
# itself, as it is here, where the discs make a picture brighter; corners and border tell nothing, as they should.

# %% language="bash"
# vagan check cohort --confounders

# %% [markdown]
# **Train**. The same command again goes on where it stopped. Without `--set` it trains seven times as long, with
# larger networks: this is **too short for quality**.

# %% language="bash"
# vagan train cohort run --set training.generator_updates=30 generator.width=8 critic.width=8

# %% [markdown]
# **Attribute** takes new pictures to maps of exactly their size: `_effect.npy`, an overlay to look at, and a
# description. The second picture is a healthy one: a map is drawn for it too, and should be nearly empty.

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
# Each overlay has a colour range of its own, so that a nearly empty map looks full there: look at the effect in its
# unit, on one range for all, before you compare. The description says what the numbers mean.

# %%
json.loads(Path("maps/9001_effect.json").read_text())
