# %% [markdown]
# # Compare methods on your own classifier
#
# Besides VA-GAN, the package contains methods that explain a classifier: any `torch.nn.Module` from images
# `(batch, channel, *space)` to logits `(batch, class)`. This example trains a small one on synthetic images with
# known effects and scores its maps. Every patient has the central square, so the classifier needs no other evidence,
# and its explanations show less of the second square.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

from vagan import EvaluationOptions, evaluate, make_synthetic_cohort
from vagan.attribution import (
    CAM,
    GradCAM,
    GradientMagnitude,
    GroupMeanDifference,
    GuidedBackpropagation,
    IntegratedGradients,
    Occlusion,
    RandomSmoothMap,
)
from vagan.data.sources.synthetic import square_regions

cohort = make_synthetic_cohort("cohort", n=800, size=(32, 28), intensity="fixed")

# %% [markdown]
# Your classifier. It does not depend on this package.

# %%
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 2)

    def forward(self, images):
        return self.head(self.features(images).mean(dim=(2, 3)))


def part(split):
    indices = cohort.manifest.indices(split)
    return cohort.images(indices), torch.as_tensor(cohort.manifest.table["label"].to_numpy()[indices])


net, (images, labels) = Net(), part("train")
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for _ in range(12):
    for batch in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
with torch.no_grad():
    tests, truth = part("test")
    print(f"accuracy on test images: {(net(tests).argmax(dim=1) == truth).float().mean():.3f}")

# %% [markdown]
# A method is constructed with the classifier, the target class and its options; `attribute(images)` returns maps. The
# mode, gradients and hooks of the model are left unchanged. Three controls do not use the classifier: the difference
# of the group means, the gradient magnitude of the image, and a random map.

# %%
baseline, patients = (cohort.images(cohort.manifest.indices("train", label)) for label in (0, 1))
methods = {
    "integrated gradients": IntegratedGradients(net, target=1, reference="mean"),
    "guided backprop": GuidedBackpropagation(net, target=1),
    "CAM": CAM(net, target=1),
    "Grad-CAM": GradCAM(net, target=1, layer="features"),
    "occlusion": Occlusion(net, target=1, window=6),
    "group mean difference": GroupMeanDifference(baseline, patients),
    "gradient magnitude": GradientMagnitude(),
    "random map": RandomSmoothMap(),
}
scores = evaluate(methods, cohort, EvaluationOptions(limit=40, parts=square_regions))

# %%
table = scores.rows.pivot_table(index="method", columns="metric", values="value")
shown = ["ncc", "average_precision", "recall/centre", "recall/off-centre"]
table[shown].sort_values("ncc", ascending=False).round(2)

# %% [markdown]
# `recall/centre` and `recall/off-centre` are the shares of each square under the map's strongest pixels: the second
# square is found less often. For a classifier whose logits are means of feature maps, as here, CAM and Grad-CAM are
# equal up to a factor. The group mean difference, one map for all images, is hard to beat if effects are always in
# the same place: compare every score with it.

# %%
chosen = cohort.manifest.indices("test", label=1)[:3]
images, truths = cohort.images(chosen), cohort.effects(chosen)
figure, axes = plt.subplots(3, 2 + len(methods), figsize=(10, 4.2), layout="constrained")
columns = {"image": images, "true effect": truths}
columns |= {name: method.attribute(images) for name, method in methods.items()}
for column, (title, maps) in enumerate(columns.items()):
    limit = float(maps.abs().max())
    for row, picture in enumerate(maps.detach()):
        axes[row, column].imshow(picture.squeeze(), cmap="RdBu_r" if column else "gray", vmin=-limit, vmax=limit)
        axes[row, column].set(xticks=[], yticks=[])
    axes[0, column].set_title(title.replace(" ", "\n", 1), fontsize=8)
plt.show()
