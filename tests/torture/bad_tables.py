"""CSV and TSV tables, BIDS trees, ADNI downloads, lists of subjects."""

# ruff: noqa: E501, PLW0108  (tables of cases, a line each)

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from torture.bad_images import grey
from torture.bad_volumes import good as volume
from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED

Change = Callable[[list[dict[str, str]]], list[dict[str, str]]]


def rows() -> list[dict[str, str]]:
    return [
        {"image": f"{name}{n}.npy", "class": name, "subject": f"s{n}{name}", "split": split}
        for name in ("healthy", "ill")
        for n, split in enumerate(("train", "train", "validation", "test"))
    ]


def text_of(table: list[dict[str, str]], separator: str = ",") -> str:
    names = list(dict.fromkeys(name for row in table for name in row))
    return (
        "\n".join([separator.join(names), *(separator.join(row.get(k, "") for k in names) for row in table)]) + "\n"
    )


def each(column: str, value: str, *places: int) -> Change:
    def change(table: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | ({column: value} if not places or n in places else {}) for n, row in enumerate(table)]

    return change


def without(column: str) -> Change:
    return lambda table: [{k: v for k, v in row.items() if k != column} for row in table]


CHANGES: dict[str, tuple[Change, str]] = {
    "no column image": (without("image"), "table.csv"),
    "no column class": (without("class"), "table.csv"),
    "one class": (each("class", "ill"), "ill"),
    "no baseline": (each("class", "fine", 0, 1, 2, 3), "--baseline"),
    "two baselines": (each("class", "control", 0, 1), "--baseline"),
    "an empty class": (each("class", "", 2), "table.csv"),
    "a class of spaces": (each("class", "  ", 2), "table.csv"),
    "an empty image": (each("image", "", 2), "table.csv"),
    "an empty subject": (each("subject", "", 2), "table.csv"),
    "an empty split": (each("split", "", 2), "table.csv"),
    "an unknown split": (each("split", "holdout", 2), "holdout"),
    "a split in capitals": (each("split", "TRAIN", 2), "TRAIN"),
    "only training": (each("subject", "s"), "'s'"),
    "a subject in two parts": (each("subject", "anna", 1, 2), "anna"),
    "an id twice": (each("id", "x"), "'x'"),
    "a file that is not there": (each("image", "nowhere.npy", 3), "nowhere.npy"),
    "a file outside, by ..": (each("image", "../../../../../../../../etc/passwd", 3), "passwd"),
    "a file outside, absolute": (each("image", "/etc/passwd", 3), "passwd"),
    "a device": (each("image", "/dev/zero", 3), "/dev/zero"),
    "a name of 5000 letters": (each("image", "x" * 5000 + ".npy", 3), "xxx"),
    "a name with a zero byte": (each("image", "a\0b.npy", 3), ""),
    "a web address": (each("image", "https://example.org/a.npy", 3), "a.npy"),
    "an effect that is not there": (each("effect", "nowhere.npy", 3), "nowhere.npy"),
    "an effect of another size": (each("effect", "other.npy", 3), "other.npy"),
    "an image of another size": (each("image", "other.npy", 3), "other.npy"),
    "an id that a spreadsheet would compute": (
        lambda table: [row | {"id": str(n) if n else "=1+1"} for n, row in enumerate(table)],
        "=1+1",
    ),
    "a subject that a spreadsheet would compute": (each("subject", "@SUM(1)", 0), "@SUM(1)"),
    "a class that a spreadsheet would compute": (each("class", "=cmd|' /C calc'!A0", 4, 5, 6, 7), "=cmd"),
    "a session that a spreadsheet would compute": (each("session", "+1+cmd|' /C calc'!A0", 0), "+1+cmd"),
    "a subject with a control character": (each("subject", "a\x1b[2Jb", 0), "a"),
}

TEXTS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "header alone": (lambda text: text.splitlines()[0].encode(), "table.csv"),
    "UTF-16": (lambda text: text.encode("utf-16"), "table.csv"),
    "Latin letters": (lambda text: text.replace("ill", "krank \xfc").encode("latin-1"), "table.csv"),
    "semicolons": (lambda text: text.replace(",", ";").encode(), "table.csv"),
    "a quote that never closes": (lambda text: text.replace("ill", '"ill', 1).encode(), "table.csv"),
    "too many cells in a row": (lambda text: (text + "a,b,c,d,e,f,g\n").encode(), "table.csv"),
    "only line breaks": (lambda text: b"\n\n\n", "table.csv"),
    "one column twice": (lambda text: text.replace("image,class", "image,image").encode(), "class"),
    "a cell of 30 MB": (lambda text: text.replace("ill3.npy", "x" * 30_000_000).encode(), "xxx"),
    "a million commas": (lambda text: b"," * 1_000_000 + b"\n", "table.csv"),
    "zero bytes between": (lambda text: text.replace(",", "\0").encode(), "table.csv"),
}


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(3)
    for name, (change, names) in CHANGES.items():
        yield Defect("CSV", f"{name}, import", _import(lambda change=change: text_of(change(rows())).encode()), names)
    for name, (write, names) in TEXTS.items():
        yield Defect("CSV", f"{name}, import", _import(lambda write=write: write(text_of(rows()))), names)
        if name not in ("one column twice", "a cell of 30 MB"):
            yield Defect("CSV", f"{name}, check", _check(lambda write=write: write(text_of(rows()))), "table.csv")
            yield Defect(
                "CSV", f"{name}, preprocess", _preprocess(lambda write=write: write(text_of(rows()))), "table.csv"
            )
    for name, damage in DAMAGES.items():
        if name in ("cut in half", "cut to a tenth"):  # a shorter table
            continue
        content = damage(text_of(rows()).encode(), rng)
        yield Defect("CSV", f"{name}, import", _import(lambda content=content: content), "table.csv")
        yield Defect("CSV", f"{name}, check", _check(lambda content=content: content), "table.csv")
        # a text that is no list names subjects that nobody knows
        named = "test subjects" if name in ("one byte", "text", "web page") else "list.txt"
        yield Defect("CSV", f"{name}, list", _list(content), named)
    for name, misplace in MISPLACED.items():
        good = text_of(rows()).encode()
        yield Defect("CSV", f"{name}, import", _import(lambda good=good: good, misplace), "table.csv")
        yield Defect("CSV", f"{name}, check", _check(lambda good=good: good, misplace), "table.csv")
        yield Defect("CSV", f"{name}, preprocess", _preprocess(lambda good=good: good, misplace), "table.csv")
        yield Defect(
            "CSV", f"{name}, list", _list(b"s0ill\n", misplace), "test subjects" if "secret" in name else "list.txt"
        )
    yield from _bids()
    yield from _adni()


def _images(place: Path) -> None:
    for number, row in enumerate(rows()):
        np.save(place / row["image"], grey(seed=number))
    np.save(place / "other.npy", grey((9, 11)))


def _import(content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None):
    def make(_: Workshop, place: Path) -> Command:
        _images(place)
        (place / "table.csv").write_bytes(content())
        misplace(place / "table.csv")
        return ["import", "csv", place / "table.csv", place / "out"]

    return make


def _check(content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None):
    def make(_: Workshop, place: Path) -> Command:
        _images(place)
        (place / "table.csv").write_bytes(content())
        misplace(place / "table.csv")
        return ["check", place / "table.csv"]

    return make


def _preprocess(content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None):
    def make(_: Workshop, place: Path) -> Command:
        (place / "table.csv").write_bytes(content())
        misplace(place / "table.csv")
        return ["preprocess", place / "table.csv", place / "prepared", "--jobs", 1]

    return make


def _list(content: bytes, misplace: Callable[[Path], None] = lambda _: None):
    def make(_: Workshop, place: Path) -> Command:
        _images(place)
        (place / "table.csv").write_text(text_of(without("split")(rows())), encoding="utf-8")
        (place / "list.txt").write_bytes(content)
        misplace(place / "list.txt")
        return ["import", "csv", place / "table.csv", place / "out", "--test-subjects", place / "list.txt"]

    return make


PARTICIPANTS = "participant_id\tdiagnosis\tage\n" + "".join(
    f"sub-{n:02d}\t{'CN' if n % 2 else 'AD'}\t{70 + n}\n" for n in range(1, 9)
)

TREES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no table": (lambda root: (root / "participants.tsv").unlink(), "diagnosis"),
    "no such column": (
        lambda root: (root / "participants.tsv").write_text(PARTICIPANTS.replace("diagnosis", "dx"), "utf-8"),
        "diagnosis",
    ),
    "one class": (
        lambda root: (root / "participants.tsv").write_text(PARTICIPANTS.replace("AD", "CN"), "utf-8"),
        "CN",
    ),
    "no participant_id": (
        lambda root: (root / "participants.tsv").write_text(PARTICIPANTS.replace("participant_id", "id"), "utf-8"),
        "diagnosis",
    ),
    "all n/a": (
        lambda root: (root / "participants.tsv").write_text(
            PARTICIPANTS.replace("AD", "n/a").replace("CN", "n/a"), "utf-8"
        ),
        "",
    ),
    "commas for tabs": (
        lambda root: (root / "participants.tsv").write_text(PARTICIPANTS.replace("\t", ","), "utf-8"),
        "diagnosis",
    ),
    "no scan": (lambda root: [path.unlink() for path in root.rglob("*.nii")], "ds"),
    "a scan that is empty": (lambda root: next(iter(sorted(root.rglob("*.nii")))).write_bytes(b""), "sub-01"),
    "a scan that is a link to nowhere": (lambda root: _relink(root), "sub-01"),
    "a folder called like a scan": (lambda root: _folder(root), "sub-01"),
    "subjects without a name": (
        lambda root: [
            path.rename(path.with_name(path.name.replace("sub-0", "sub-_"))) for path in root.rglob("*.nii")
        ],
        "",
    ),
    "broken sessions.tsv": (
        lambda root: (root / "sub-01" / "sub-01_sessions.tsv").write_bytes(b"\xff\xfe\0\0\t\x80"),
        "sub-01_sessions.tsv",
    ),
    "broken scans.tsv": (
        lambda root: (root / "sub-01" / "sub-01_scans.tsv").write_bytes(b"\x80"),
        "sub-01_scans.tsv",
    ),
    "ragged table": (
        lambda root: (root / "participants.tsv").write_text(PARTICIPANTS + "a\tb\tc\td\te\n", "utf-8"),
        "participants.tsv",
    ),
}


def _relink(root: Path) -> None:
    scan = sorted(root.rglob("*.nii"))[0]
    scan.unlink()
    scan.symlink_to("nowhere.nii")


def _folder(root: Path) -> None:
    scan = sorted(root.rglob("*.nii"))[0]
    scan.unlink()
    scan.mkdir()


def _bids() -> Iterator[Defect]:
    rng = np.random.default_rng(4)

    def tree(place: Path) -> Path:
        root = place / "ds"
        for n in range(1, 9):
            scan = root / f"sub-{n:02d}" / "anat" / f"sub-{n:02d}_T1w.nii"
            scan.parent.mkdir(parents=True)
            scan.write_bytes(volume(".nii"))
        (root / "participants.tsv").write_text(PARTICIPANTS, encoding="utf-8")
        return root

    def importing(damage: Callable[[Path], object]) -> Callable[[Workshop, Path], Command]:
        def make(_: Workshop, place: Path) -> Command:
            root = tree(place)
            damage(root)
            return ["import", "bids", root, place / "out", "--class-column", "diagnosis", "--desc", ""]

        return make

    for name, (damage, names) in TREES.items():
        yield Defect("BIDS", f"{name}, import", importing(damage), names)
    for name, damage in DAMAGES.items():
        if name in ("cut in half", "cut to a tenth"):
            continue
        content = damage(PARTICIPANTS.encode(), rng)
        write = lambda root, content=content: (root / "participants.tsv").write_bytes(content)  # noqa: E731
        # what is a table of other things, or of none, lacks the column
        named = "participants.tsv" if name in ("noise", "gzip", "pickle", "zip", "empty") else "diagnosis"
        yield Defect("TSV", f"{name}, import", importing(write), named)
    for name, misplace in MISPLACED.items():
        named = "participants.tsv" if name == "a link to a secret" else "diagnosis"
        yield Defect(
            "TSV", f"{name}, import", importing(lambda root, m=misplace: m(root / "participants.tsv")), named
        )

    def preprocess(*options: str) -> Callable[[Workshop, Path], Command]:
        return lambda _, place: ["preprocess", tree(place), place / "prepared", "--jobs", 1, *options]

    yield Defect("BIDS", "unknown participant", preprocess("--participant-label", "99"), "99")
    yield Defect("BIDS", "participant with a path", preprocess("--participant-label", "../../etc"), "../../etc")


DXSUM = "PHASE,PTID,RID,VISCODE,VISCODE2,EXAMDATE,DIAGNOSIS\n" + "".join(
    f"ADNI1,00{n}_S_000{n},{n},bl,bl,2008-03-1{n},{1 + n % 3}\n" for n in range(1, 9)
)

DOWNLOADS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no tables": (lambda images, tables: (tables / "DXSUM.csv").unlink(), "tables"),
    "no images": (lambda images, tables: [path.unlink() for path in images.rglob("*.nii")], "images"),
    "the same table twice": (
        lambda images, tables: (tables / "DXSUM_01Jan2020.csv").write_text(DXSUM, "utf-8"),
        "DXSUM_01Jan2020.csv",
    ),
    "header alone": (lambda images, tables: (tables / "DXSUM.csv").write_text(DXSUM.splitlines()[0], "utf-8"), "images"),
    "no diagnosis": (
        lambda images, tables: (tables / "DXSUM.csv").write_text(DXSUM.replace("DIAGNOSIS", "OTHER"), "utf-8"),
        "",
    ),
    "dates that are none": (
        lambda images, tables: (tables / "DXSUM.csv").write_text(DXSUM.replace("2008-03-1", "2008-99-9"), "utf-8"),
        "",
    ),
    "an ill cell in every diagnosis": (
        lambda images, tables: (tables / "DXSUM.csv").write_text(DXSUM.replace(",1\n", ",x\n").replace(",2\n", ",9e99\n").replace(",3\n", ",-4\n"), "utf-8"),
        "",
    ),
    "another quality control's broken table": (
        lambda images, tables: (tables / "MRIQUALITY.csv").write_bytes(b'"\xff\xff'),
        "MRIQUALITY.csv",
    ),
    "images is a file": (lambda images, tables: _file_for(images), "images"),
    "tables is a file": (lambda images, tables: _file_for(tables), "tables"),
    "images named after nobody": (lambda images, tables: os.rename(images / "002_S_0002", images / "nobody"), ""),
}  # fmt: skip


def _file_for(folder: Path) -> None:
    folder.rename(folder.with_name(f"old {folder.name}"))
    folder.write_bytes(b"x")


def _adni() -> Iterator[Defect]:
    rng = np.random.default_rng(5)

    def make(damage: Callable[[Path, Path], object]) -> Callable[[Workshop, Path], Command]:
        def made(_: Workshop, place: Path) -> Command:
            images, tables = place / "images", place / "tables"
            scan = (
                images / "002_S_0002" / "MPRAGE" / "2008-03-12_10_00_00.0" / "I1002" / "ADNI_002_S_0002_MR_I1002.nii"
            )
            scan.parent.mkdir(parents=True)
            scan.write_bytes(volume(".nii"))
            tables.mkdir()
            (tables / "DXSUM.csv").write_text(DXSUM, encoding="utf-8")
            damage(images, tables)
            return ["import", "adni", images, tables, place / "out"]

        return made

    for name, (damage, names) in DOWNLOADS.items():
        yield Defect("ADNI", name, make(damage), names)
    for name, damage in DAMAGES.items():
        content = damage(DXSUM.encode(), rng)
        named = "DXSUM.csv" if name in ("empty", "noise", "gzip", "zip") else "images"
        yield Defect(
            "ADNI", f"{name}, diagnoses", make(lambda _, t, c=content: (t / "DXSUM.csv").write_bytes(c)), named
        )
    for name, misplace in MISPLACED.items():
        named = "" if name == "a link to a secret" else "tables"
        yield Defect("ADNI", f"{name}, diagnoses", make(lambda _, t, m=misplace: m(t / "DXSUM.csv")), named)
