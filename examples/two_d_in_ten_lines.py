# %% [markdown]
# # Two dimensions in ten lines
#
# A small version of the paper's synthetic experiment. All images are smooth noise; images of the class of interest
# also contain two bright squares, one in the centre and one below or above it. The squares are the true effect.
# With 48×40 instead of 112×112 pixels and a quarter of the usual training, it takes a minute on two cores: **maps
# are in the right places but uneven, with faint traces where the other half of the patients have their square.**
# `vagan demo` runs the full experiment.

# %%
import matplotlib.pyplot as plt

from vagan import Attributor, evaluate, load_config, make_synthetic_cohort, train

cohort = make_synthetic_cohort("cohort", n=1200, size=(48, 40), intensity="fixed")
cohort

# %% [markdown]
# Settings are differences from a preset. A quarter of the usual length suffices for a first look.

# %%
settings = {"training.generator_updates": "60"}
run = train(cohort, "run", load_config("fast", settings))

# %% [markdown]
# The trained model maps images to effect maps of the same shape, positive where the class made the image brighter.

# %%
method = Attributor.load(run.path)
patients = cohort.manifest.indices("test", label=1)[:4]
images, truths = cohort.images(patients), cohort.effects(patients)
effects = method.effect(images)
effects.shape, method.spec.classes

# %% [markdown]
# The image minus its effect is the counterfactual: how it would look in the baseline class.

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
# Scores are means over the test images with 95 % intervals; the ceiling is the score of the exact counterfactual.
# `baseline_response_ratio`, the size of maps of baseline images relative to those of the class, should be near 0.

# %%
evaluate({"VA-GAN": method}, cohort)
