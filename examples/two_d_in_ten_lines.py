# %% [markdown]
# # Two dimensions in ten lines
#
# The paper's synthetic experiment, made small: every image is smooth noise, and images of the class of interest
# hold two bright squares too: one in the centre, the other below or above it. Each image's true effect, the
# squares, is known. The images here have 48×40 pixels instead of 112×112 and the training is a quarter of the usual
# one, so that it takes a minute on two cores: **maps are in the right places, but uneven, and faint traces are left
# where the other half of the patients have their square.** `vagan demo` does the same at full size.

# %%
import matplotlib.pyplot as plt

from vagan import Attributor, evaluate, load_config, make_synthetic_cohort, train

cohort = make_synthetic_cohort("cohort", n=1200, size=(48, 40), intensity="fixed")
cohort

# %% [markdown]
# Settings are a preset and differences from it. Small images need small networks.

# %%
settings = {"training.generator_updates": "60", "generator.width": "8", "critic.width": "8"}
run = train(cohort, "run", load_config("fast", settings))
run

# %% [markdown]
# The trained map generator is a method like any other: images in, effect maps of the same shape out, positive where
# the class made the image brighter.

# %%
method = Attributor.load(run.path)
patients = cohort.manifest.indices("test", label=1)[:4]
images, truths = cohort.images(patients), cohort.effects(patients)
effects = method.effect(images)
effects.shape, method.spec.classes

# %% [markdown]
# The image without its effect is what it would look like in the baseline class.

# %%
figure, axes = plt.subplots(4, 4, figsize=(6, 7), layout="constrained")
for row, (image, truth, effect) in zip(axes, zip(images, truths, effects, strict=True), strict=True):
    for place, picture, limit in zip(row, (image, truth, effect, image - effect), (1, 1, 0.5, 1), strict=True):
        maps = place in (row[1], row[2])
        place.imshow(picture.squeeze(), cmap="RdBu_r" if maps else "gray", vmin=-limit, vmax=limit)
        place.set(xticks=[], yticks=[])
for place, title in zip(axes[0], ("image", "true effect", "VA-GAN's map", "image − map"), strict=True):
    place.set_title(title, fontsize=9)
plt.show()

# %% [markdown]
# Scores are means over the test images with 95 % intervals; the ceiling is what the exact counterfactual reaches.
# `baseline_response_ratio`, the size of the map on baseline images over that on images of the class, should be near
# 0.

# %%
evaluate({"VA-GAN": method}, cohort)
