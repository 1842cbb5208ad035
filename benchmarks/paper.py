"""What others published: values that measured results stand beside.

Prints the scores of a comparison with follow-up scans beside Table 2 of the paper:

    python benchmarks/paper.py results
"""

import argparse

from study import as_table

from vagan.evaluation.results import ResultsFolder

TABLE1 = {
    "guided backprop": (0.14, 0.04),
    "integrated gradients": (0.36, 0.11),
    "CAM": (0.48, 0.04),
    "additive perturbation": (0.06, 0.03),
    "VA-GAN": (0.94, 0.07),
}
"""NCC on synthetic images, mean and standard deviation."""

TABLE2 = {
    "guided backprop": (0.05, 0.03),
    "CAM": (0.09, 0.07),
    "integrated gradients": (0.13, 0.05),
    "additive perturbation": (0.11, 0.05),
    "VA-GAN": (0.27, 0.15),
}
"""NCC over the whole volume, 50 ADNI subjects."""

ADNI = {
    "images": 5_778,
    "subjects": 1_288,
    "images at 1.5 T": 2_839,
    "images at 3 T": 2_939,
    "subjects, train": 825,
    "subjects, test": 256,
    "subjects, validation": 207,
}
"""Section 4.3 of the paper, to compare with the summary of `vagan import adni`; images at 3 T are the remainder."""

LATER = {"VA-GAN, penalty on the whole gradient": 0.332, "generator of a deformation": 0.365}
"""Published later, on ADNI: NCC within the brain, averaged by subject first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="folder written by `vagan evaluate`")
    results = ResultsFolder(parser.parse_args().results).read()
    rows = []
    for name, scores in results.summary.methods.items():
        paper = TABLE2.get(name.split(" (")[0])
        measured = [f"{scores[metric].mean:.3f}" for metric in ("ncc", "ncc_brain_by_subject") if metric in scores]
        rows.append([name, *measured, "{:.2f} ± {:.2f}".format(*paper) if paper else "", ""])
    rows += [[f"{name} (published later)", "", "", "", f"{value:.3f}"] for name, value in LATER.items()]
    head = [
        "method",
        "NCC, whole volume",
        "NCC, brain, by subject",
        "paper, whole volume",
        "later, brain, by subject",
    ]
    print(as_table(head, rows))


if __name__ == "__main__":
    main()
