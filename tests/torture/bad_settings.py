"""YAML presets and values, options of every verb, results folders."""

# ruff: noqa: E501  (tables of cases, a line each)

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED, pickled, zip_of

LEVELS = 30
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, LEVELS))
"""Ten to the power of thirty words, if anybody writes them out."""

PRESETS: dict[str, str | bytes] = {
    "aliases that explode": ALIASES,
    "aliases that explode in a known key": f"{ALIASES}training: *a{LEVELS - 1}\n",
    "aliases that explode in a known value": f"x: &x [1]\n{ALIASES}training: {{seed: *a{LEVELS - 1}}}\n",
    "an alias of itself": "training: &t {seed: *t}\n",
    "nested 3000 deep": "training: " + "[" * 3000 + "]" * 3000,
    "nested 3000 deep, by lines": "\n".join(" " * n + "a:" for n in range(1500)),
    "a tag that runs code": "training: !!python/object/apply:os.mkdir ['/tmp/vagan-torture-mark']\n",
    "a tag that makes a tuple": "training: {seed: !!python/tuple [1]}\n",
    "a number of 5000 digits": f"training: {{seed: {'9' * 5000}}}\n",
    "a number of 300 digits": f"training: {{batch_size: {'9' * 300}}}\n",
    "a day that is none": "training: {seed: 2024-99-99}\n",
    "a key that is a list": "? [a, b]\n: 3\n",
    "a key that is a number": "3: 4\n",
    "a list": "- a\n- b\n",
    "a word": "fast\n",
    "two documents": "training: {seed: 1}\n---\ntraining: {seed: 2}\n",
    "a section that is a word": "training: fast\n",
    "a section that is a list": "training: [1, 2]\n",
    "a section that is empty": "training:\n",
    "a key that is not known": "training: {sead: 3}\n",
    "a section that is not known": "trianing: {seed: 3}\n",
    "tabs": "training:\n\tseed: 3\n",
    "a seed below 0": "training: {seed: -1}\n",
    "a half batch": "training: {batch_size: 2.5}\n",
    "an infinite weight": "loss: {map_weight: .inf}\n",
    "a weight that is no number": "loss: {map_weight: .nan}\n",
    "an infinite learning rate": "optimizer: {generator_learning_rate: .inf}\n",
    "zero bytes": b"training: {seed: 3}\0\0",
    "UTF-16": "training: {seed: 3}\n".encode("utf-16"),
    "10 MB of one word": "x" * 10_000_000,
}

VALUES: dict[str, str] = {
    "width 2^40": "generator.width=1099511627776",
    "width 10^30": "generator.width=1000000000000000000000000000000",
    "width 0": "generator.width=0",
    "critic's width 2^40": "critic.width=1099511627776",
    "batch of 2^50": "training.batch_size=1125899906842624",
    "accumulate 2^60": "training.accumulate=1152921504606846976",
    "seed below 0": "training.seed=-3",
    "seed of words": "training.seed=three",
    "mirrored along axis 9": "training.mirror_axis=9",
    "no such device": "training.device=warp",
    "no such precision": "training.precision=17-bit",
    "threads -1": "training.threads=-1",
    "threads 10^12": "training.threads=1000000000000",
    "NaN": "loss.map_weight=.nan",
    "infinity": "loss.gradient_penalty=.inf",
    "a day that is none": "training.seed=2024-99-99",
    "a number of 5000 digits": f"training.seed={'9' * 5000}",
    "a list without end": "training.seed=[[[[",
    "code": "training.seed=!!python/object/apply:os.mkdir ['/tmp/vagan-torture-mark']",
    "a whole section": "training={}",
    "a section as a number": "training=3",
    "a key in a value": "training.seed.deeper=3",
    "a key of dots": "...=3",
    "a key without a value": "training.seed",
    "a value without a key": "=3",
    "nothing": "training.seed=",
    "no such class of interest": "training.interest=elsewhere",
    "decay from 2": "optimizer.decay_from=2",
    "beta 1": "optimizer.beta1=1",
    "share 0": "loss.penalty_share=0",
    "learning rate 0": "optimizer.critic_learning_rate=0",
    "unknown method": "method=magic",
    "updates 10^18": "training.generator_updates=1000000000000000000000000000",
}

OUT = "OUT"
"""Stands for a new folder."""

OPTIONS: dict[str, tuple[list[str], str]] = {
    "no verb but an option": (["--frobnicate"], "--frobnicate"),
    "a verb that is none": (["trian"], "trian"),
    "synth without images": (["synth", OUT, "--images", "0"], "0"),
    "synth -5 images": (["synth", OUT, "--images", "-5"], "-5"),
    "synth 10^30 images": (["synth", OUT, "--images", "1" + "0" * 30], ""),
    "synth some images": (["synth", OUT, "--images", "some"], "--images"),
    "synth size 0x0": (["synth", OUT, "--images", "20", "--size", "0x0"], "0x0"),
    "synth size 1x1": (["synth", OUT, "--images", "20", "--size", "1x1"], "1"),
    "synth size of one number": (["synth", OUT, "--images", "20", "--size", "16"], "16"),
    "synth four axes": (["synth", OUT, "--images", "20", "--size", "4x4x4x4"], "4x4x4x4"),
    "synth size of a petabyte": (["synth", OUT, "--images", "20", "--size", "99999999x99999999"], "99999999"),
    "synth size of Arabic digits": (["synth", OUT, "--images", "20", "--size", "٣٢x²²"], "²²"),
    "synth seed of words": (["synth", OUT, "--seed", "x"], "--seed"),
    "synth amplitude NaN": (["synth", OUT, "--images", "20", "--size", "16x16", "--amplitude", "nan"], "nan"),
    "synth unknown pattern": (["synth", OUT, "--pattern", "stars"], "--pattern"),
    "synth unknown option": (["synth", OUT, "--imagse", "3"], "--imagse"),
    "synth without a place": (["synth"], "--out"),
    "synth in a name of 5000 letters": (["synth", "x" * 5000, "--images", "20", "--size", "16x16"], "xxx"),
    "synth in /proc": (["synth", "/proc/vagan/x", "--images", "20", "--size", "16x16"], "/proc/vagan"),
    "synth in /dev/null": (["synth", "/dev/null", "--images", "20", "--size", "16x16"], "/dev/null"),
    "synth in a file": (["synth", "FILE", "--images", "20", "--size", "16x16"], "file.txt"),
    "synth below a file": (["synth", "FILE/x", "--images", "20", "--size", "16x16"], "file.txt"),
    "atrophy without subjects": (["atrophy", OUT, "--subjects", "0"], "0"),
    "atrophy -3 subjects": (["atrophy", OUT, "--subjects", "-3"], "-3"),
    "atrophy spacing 0": (["atrophy", OUT, "--spacing-mm", "0"], "0"),
    "atrophy spacing NaN": (["atrophy", OUT, "--spacing-mm", "nan"], "nan"),
    "atrophy spacing a micron": (["atrophy", OUT, "--spacing-mm", "0.001"], "0.001"),
    "atrophy spacing a metre": (["atrophy", OUT, "--spacing-mm", "1000"], "1000"),
    "atrophy strength 9": (["atrophy", OUT, "--strength", "9"], "9"),
    "atrophy strength NaN": (["atrophy", OUT, "--strength", "nan"], "nan"),
    "atrophy no such brain": (["atrophy", OUT, "--base", "einstein"], "einstein"),
    "atrophy a brain that is text": (["atrophy", OUT, "--base", "FILE"], "file.txt"),
    "atrophy -1 jobs": (["atrophy", OUT, "--jobs", "-1"], "-1"),
    "check nothing": (["check"], "--path"),
    "check what is not there": (["check", "nowhere"], "nowhere"),
    "check a text": (["check", "FILE"], "file.txt"),
    "check an empty folder": (["check", "FOLDER"], "empty"),
    "import nothing": (["import", "folder"], "--source"),
    "import an unknown kind": (["import", "excel", "a", OUT], "excel"),
    "import what is not there": (["import", "folder", "nowhere", OUT], "nowhere"),
    "import an empty folder": (["import", "folder", "FOLDER", OUT], "empty"),
    "import a file": (["import", "folder", "FILE", OUT], "file.txt"),
    "import a table that is not there": (["import", "csv", "nowhere.csv", OUT], "nowhere.csv"),
    "import size 0x0": (["import", "folder", "PICTURES", OUT, "--size", "0x0"], "0x0"),
    "import size of a petabyte": (["import", "folder", "PICTURES", OUT, "--size", "99999999x99999999"], "99999999"),
    "import size of other axes": (["import", "folder", "PICTURES", OUT, "--size", "4x4x4"], "4"),
    "import range of one number": (["import", "folder", "PICTURES", OUT, "--range", "3"], "--range"),
    "import empty range": (["import", "folder", "PICTURES", OUT, "--range", "5", "5"], "--range"),
    "import range that falls": (["import", "folder", "PICTURES", OUT, "--range", "5", "2"], "--range"),
    "import range of NaN": (["import", "folder", "PICTURES", OUT, "--range", "nan", "2"], "--range"),
    "import pattern that is none": (["import", "folder", "PICTURES", OUT, "--subject-pattern", "("], "--subject-pattern"),
    "import pattern without a group": (["import", "folder", "PICTURES", OUT, "--subject-pattern", "a"], "--subject-pattern"),
    "import pattern with a group left out": (
        ["import", "folder", "PICTURES", OUT, "--subject-pattern", "(x)?[0-9]"], "--subject-pattern"),
    "import no such baseline": (["import", "folder", "PICTURES", OUT, "--baseline", "helthy"], "helthy"),
    "import no such colour": (["import", "folder", "PICTURES", OUT, "--colour", "cmyk"], "--colour"),
    "import list that is not there": (["import", "folder", "PICTURES", OUT, "--test-subjects", "nowhere"], "nowhere"),
    "import into its source": (["import", "folder", "PICTURES", "PICTURES"], "pictures"),
    "train nothing": (["train"], "--cohort"),
    "train on nothing": (["train", "nowhere", OUT], "nowhere"),
    "train on a file": (["train", "FILE", OUT], "file.txt"),
    "train into a file": (["train", "COHORT", "FILE"], "file.txt"),
    "train into a folder of others": (["train", "COHORT", "PICTURES"], "pictures"),
    "train -1 devices": (["train", "COHORT", OUT, "--devices", "-1"], "-1"),
    "train 0 devices": (["train", "COHORT", OUT, "--devices", "0"], "0"),
    "train 3 devices": (["train", "COHORT", OUT, "--devices", "3"], "3"),
    "train unknown method": (["train", "COHORT", OUT, "--method", "magic"], "--method"),
    "train unknown preset": (["train", "COHORT", OUT, "--preset", "fats"], "fats"),
    "train preset that is not there": (["train", "COHORT", OUT, "--preset", "nowhere.yaml"], "nowhere.yaml"),
    "preprocess nothing": (["preprocess", "nowhere", OUT], "nowhere"),
    "preprocess an empty folder": (["preprocess", "FOLDER", OUT], "empty"),
    "preprocess a text": (["preprocess", "FILE", OUT, "--jobs", "1"], "file.txt"),
    "preprocess -1 jobs": (["preprocess", "SCANS", OUT, "--jobs", "-1"], "-1"),
    "preprocess spacing 0": (["preprocess", "SCANS", OUT, "--spacing", "0"], "--spacing"),
    "preprocess spacing NaN": (["preprocess", "SCANS", OUT, "--spacing", "nan"], "--spacing"),
    "preprocess spacing a micron": (["preprocess", "SCANS", OUT, "--spacing", "0.001"], "--spacing"),
    "preprocess size 0": (["preprocess", "SCANS", OUT, "--size", "0x0x0"], "0x0x0"),
    "preprocess size of a petabyte": (["preprocess", "SCANS", OUT, "--size", "99999x99999x99999"], "99999"),
    "preprocess size of two axes": (["preprocess", "SCANS", OUT, "--size", "9x9"], "9x9"),
    "preprocess dof 5": (["preprocess", "SCANS", OUT, "--dof", "5"], "--dof"),
    "preprocess unknown stripper": (["preprocess", "SCANS", OUT, "--strip", "knife", "--jobs", "1"], "knife"),
    "preprocess stripper without names": (["preprocess", "SCANS", OUT, "--strip", "command: x", "--jobs", "1"], "{input}"),
    "preprocess stripper that is not there": (
        ["preprocess", "SCANS", OUT, "--strip", "command: no-such {input} {mask}", "--jobs", "1"], "no-such"),
    "preprocess stripper with half a quote": (
        ["preprocess", "SCANS", OUT, "--strip", "command: 'x {input} {mask}", "--jobs", "1"], "command"),
    "preprocess template that is not there": (["preprocess", "SCANS", OUT, "--template", "nowhere.nii"], "nowhere.nii"),
    "preprocess template that is text": (["preprocess", "SCANS", OUT, "--template", "FILE", "--jobs", "1"], "file.txt"),
    "preprocess no such scheduler": (["preprocess", "SCANS", OUT, "--scheduler", "not an address"], "not an address"),
    "preprocess into a file": (["preprocess", "SCANS", "FILE"], "file.txt"),
    "preprocess unknown level": (["preprocess", "SCANS", OUT, "everyone"], "everyone"),
    "attribute no run": (["attribute", "nowhere", "ARRAY", "--out", OUT], "nowhere"),
    "attribute no image": (["attribute", "MODEL", "--out", OUT], "image"),
    "attribute an image twice": (["attribute", "MODEL", "ARRAY", "ARRAY", "--out", OUT], "array"),
    "attribute no place": (["attribute", "MODEL", "ARRAY"], "--out"),
    "attribute into a file": (["attribute", "MODEL", "ARRAY", "--out", "FILE"], "file.txt"),
    "attribute unknown method": (["attribute", "MODEL", "ARRAY", "--out", OUT, "--method", "magic"], "magic"),
    "attribute unknown class": (["attribute", "MODEL", "ARRAY", "--out", OUT, "--class", "x"], "'x'"),
    "attribute an ensemble of one": (["attribute", "MODEL", "ARRAY", "--out", OUT, "--ensemble", "MODEL"], "model"),
    "attribute an ensemble with nothing": (["attribute", "MODEL", "ARRAY", "--out", OUT, "--ensemble", "nowhere"], "nowhere"),
    "attribute unknown device": (["attribute", "MODEL", "ARRAY", "--out", OUT, "--device", "warp"], "warp"),
    "evaluate no run": (["evaluate", "COHORT", "--out", OUT], "run"),
    "evaluate a run that is not there": (["evaluate", "COHORT", "nowhere", "--out", OUT], "nowhere"),
    "evaluate limit 0": (["evaluate", "COHORT", "RUN", "--out", OUT, "--limit", "0"], "0"),
    "evaluate limit -2": (["evaluate", "COHORT", "RUN", "--out", OUT, "--limit", "-2"], "-2"),
    "evaluate subset 0": (["evaluate", "COHORT", "RUN", "--out", OUT, "--subset", "0"], "0"),
    "evaluate examples -1": (["evaluate", "COHORT", "RUN", "--out", OUT, "--examples", "-1"], "-1"),
    "evaluate no such severity": (["evaluate", "COHORT", "RUN", "--out", OUT, "--severity", "pain"], "pain"),
    "evaluate severity of words": (["evaluate", "COHORT", "RUN", "--out", OUT, "--severity", "subject"], "subject"),
    "evaluate unknown method": (["evaluate", "COHORT", "RUN", "--out", OUT, "--methods", "magic"], "magic"),
    "evaluate judge that is not there": (["evaluate", "COHORT", "RUN", "--out", OUT, "--judge", "nowhere"], "nowhere"),
    "evaluate longitudinal without follow-up": (["evaluate", "COHORT", "RUN", "--out", OUT, "--longitudinal"], ""),
    "evaluate unknown pairs": (["evaluate", "COHORT", "RUN", "--out", OUT, "--pairs", "best"], "--pairs"),
    "evaluate into a file": (["evaluate", "COHORT", "RUN", "--out", "FILE"], "file.txt"),
    "report nothing": (["report", "nowhere"], "nowhere"),
    "report an empty folder": (["report", "FOLDER"], "empty"),
    "report a file": (["report", "FILE"], "file.txt"),
    "report no such atlas": (["report", "FOLDER", "--atlas", "nowhere.nii"], ""),
    "export nothing": (["export", "nowhere", OUT], "nowhere"),
    "export over others' files": (["export", "MODEL", "PICTURES"], "pictures"),
    "export unknown format": (["export", "MODEL", OUT, "--format", "pickle"], "--format"),
    "export no such results": (["export", "MODEL", OUT, "--results", "nowhere"], "nowhere"),
    "serve nothing": (["serve", "nowhere"], "nowhere"),
    "serve port 99999": (["serve", "MODEL", "--port", "99999"], "99999"),
    "serve port -1": (["serve", "MODEL", "--port", "-1"], "-1"),
    "serve port of words": (["serve", "MODEL", "--port", "http"], "--port"),
    "serve uploads of 0 MB": (["serve", "MODEL", "--largest-mb", "0"], "0"),
    "demo 3 images": (["demo", OUT, "--images", "3"], "3"),
    "demo in a file": (["demo", "FILE"], "file.txt"),
}  # fmt: skip

SUMMARY = {
    "methods": {"VA-GAN": {"ncc": {"mean": 0.5, "std": 0.1, "ci95": [0.4, 0.6], "n": 9}}},
    "ceiling": {},
    "runs": ["run"],
}

RESULTS: dict[str, tuple[str, bytes]] = {
    "a summary of a list": ("summary.json", b"[1, 2]"),
    "a summary without methods": ("summary.json", b"{}"),
    "no method at all": ("summary.json", b'{"methods": {}}'),
    "a score of words": ("summary.json", json.dumps(SUMMARY).replace("0.5", '"half"').encode()),
    "a score without its interval": ("summary.json", json.dumps(SUMMARY).replace("ci95", "ci96").encode()),
    "an interval of one number": ("summary.json", json.dumps(SUMMARY).replace("[0.4, 0.6]", "[0.4]").encode()),
    "a number of 5000 digits": ("summary.json", json.dumps(SUMMARY).replace("9}", "9" * 5000 + "}").encode()),
    "a summary nested 9000 deep": ("summary.json", b"[" * 9000 + b"]" * 9000),
    "scores without their columns": ("scores.csv", b"a,b\n1,2\n"),
    "scores of zero bytes": ("scores.csv", bytes(999)),
    "examples that are pickled": ("examples.npz", pickled(Path("/tmp/vagan-torture-mark"))),
    "examples that hold a pickle": (
        "examples.npz",
        zip_of(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127) + b"\n"
               + pickled(Path("/tmp/vagan-torture-mark")), "ids.npy"),
    ),
    "examples that claim a petabyte": (
        "examples.npz",
        zip_of(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2**50,), }".replace(
            b"2**50", b"1125899906842624").ljust(127) + b"\n", "images.npy"),
    ),
    "examples of half a file": ("examples.npz", zip_of(b"x" * 999)[:200]),
    "examples that are a bomb": (
        "examples.npz",
        zip_of(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (67108864,), }".ljust(127)
               + b"\n" + bytes(2**28), "images.npy"),
    ),
}  # fmt: skip


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(8)
    for name, text in PRESETS.items():
        content = text if isinstance(text, bytes) else text.encode()
        yield Defect("YAML", f"{name}, preset", _preset(content), "preset.yaml")
    for name, damage in DAMAGES.items():
        if name in ("empty", "one byte", "cut to a tenth"):  # nothing but defaults, or the beginning of a word
            continue
        yield Defect("YAML", f"{name}, preset", _preset(damage(b"training:\n  seed: 3\n" * 1, rng)), "preset.yaml")
    for name, misplace in MISPLACED.items():
        yield Defect("YAML", f"{name}, preset", _preset(b"training: {seed: 3}\n", misplace), "preset.yaml")
    for name, setting in VALUES.items():
        yield Defect(
            "YAML", f"{name}, --set", _setting(setting), setting.split("=")[0].lstrip(".").split(".")[-1][:20]
        )
    for name, (arguments, names) in OPTIONS.items():
        yield Defect("options", name, _options(arguments), names, leaves="new" if "preprocess" in name else "")
    for name, (file, content) in RESULTS.items():
        yield Defect("results", name, _report(file, content), file)
    for file in ("summary.json", "scores.csv", "examples.npz", "runs/run/config.yaml", "runs/run/metrics.csv"):
        for name in ("noise", "zeros", "web page", "pickle"):
            if (file, name) != ("runs/run/config.yaml", "web page"):
                content = DAMAGES[name](json.dumps(SUMMARY).encode(), rng)
                yield Defect("results", f"{file} {name}", _report(file, content), file.split("/")[-1])


def _preset(content: bytes, misplace: Callable[[Path], None] = lambda _: None):
    def make(workshop: Workshop, place: Path) -> Command:
        (place / "preset.yaml").write_bytes(content)
        misplace(place / "preset.yaml")
        return ["train", workshop.cohort, place / "run", "--preset", place / "preset.yaml"]

    return make


def _setting(setting: str):
    small = [] if "batch_size" in setting else ["training.batch_size=2"]
    return lambda workshop, place: ["train", workshop.cohort, place / "run", "--set", setting, *small]


def _options(arguments: list[str]):
    def make(workshop: Workshop, place: Path) -> Command:
        (place / "empty").mkdir()
        (place / "file.txt").write_text("years of work", encoding="utf-8")
        for name in ("healthy", "ill"):
            (place / "pictures" / name).mkdir(parents=True)
            for number in range(5):
                np.save(place / "pictures" / name / f"{number}.npy", np.random.default_rng(number).random((9, 8)))
        np.save(place / "array.npy", np.random.default_rng(0).random((24, 20)))
        known = {
            "OUT": place / "new",
            "FILE": place / "file.txt",
            "FILE/x": place / "file.txt" / "x",
            "FOLDER": place / "empty",
            "PICTURES": place / "pictures",
            "ARRAY": place / "array.npy",
        }
        if "COHORT" in arguments:
            known["COHORT"] = workshop.cohort
        if "RUN" in arguments:
            known["RUN"] = workshop.stopped_run
        if "MODEL" in arguments:
            known["MODEL"] = workshop.model
        if "SCANS" in arguments:
            from heads import save_head

            known["SCANS"] = save_head(place / "scans" / "s1.nii.gz").parent
        small = ["--set", "training.batch_size=2"] if arguments[:2] == ["train", "COHORT"] else []
        return [*(known.get(argument, argument) for argument in arguments), *small]

    return make


def _report(file: str, content: bytes):
    def make(_: Workshop, place: Path) -> Command:
        results = place / "results"
        (results / "runs" / "run").mkdir(parents=True)
        (results / "summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
        (results / file).write_bytes(content)
        return ["report", results]

    return make
