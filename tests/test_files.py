import errno
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from vagan.data.schema import COHORT
from vagan.errors import OutputError
from vagan.exporting import hub, monai, onnx
from vagan.files import MARK, FolderKind, new_folder, remove_leftovers, replacing, write_text


def test_a_file_is_replaced_whole_and_keeps_its_suffix_while_written_and_a_failure_leaves_the_older_one(tmp_path):
    path = tmp_path / "new" / "image.nii.gz"
    with replacing(path) as temporary:
        assert temporary.name.endswith("image.nii.gz")
        assert temporary.parent == path.parent
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    with pytest.raises(RuntimeError, match="half"), replacing(path) as temporary:
        temporary.write_text("ne", encoding="utf-8")
        raise RuntimeError("half way")
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError, match="half"), new_folder(tmp_path / "out", FolderKind(("m",), "m")) as folder:
        (folder / "m").write_text("", encoding="utf-8")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out", FolderKind(("m",), "m")) as folder:
        (folder / "m").write_text("first", encoding="utf-8")
        assert not (tmp_path / "out").exists()
    with new_folder(tmp_path / "out", FolderKind(("m",), "m")) as folder:
        (folder / "m").write_text("second", encoding="utf-8")
        assert (tmp_path / "out" / "m").read_text(encoding="utf-8") == "first"
    assert (tmp_path / "out" / "m").read_text(encoding="utf-8") == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_folder_is_made_where_none_is_asked_for(tmp_path):
    with (
        pytest.raises(OutputError, match=r"cannot write .*a\.txt"),
        replacing(tmp_path / "new" / "a.txt", in_new_folder=False),
    ):
        pass
    assert not (tmp_path / "new").exists()


def test_the_module_imports_where_there_is_no_fcntl():
    there_is_none = "import shutil, sys, tempfile; sys.platform = 'win32'; sys.modules['fcntl'] = None"
    subprocess.run([sys.executable, "-c", f"{there_is_none}; import vagan.files"], check=True)


FOREIGN = (".cohort.backup-2024", ".cohort.precious_v1.old", ".cohort.original_weights", ".cohort.a1b2c3d4")


@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_hidden_folders_beside_an_output_are_left_alone(there, tmp_path):
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    if there:
        (tmp_path / "cohort").mkdir()
    with new_folder(tmp_path / "cohort", FolderKind(("a.txt",), "a.txt")) as temporary:
        (temporary / "a.txt").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FOREIGN, "cohort"])
    assert all((tmp_path / name / "a.txt").read_text() == name for name in FOREIGN)
    assert (tmp_path / "cohort" / "a.txt").read_text() == "new"


def test_hidden_files_in_a_folder_are_left_alone_and_killed_writers_files_removed(tmp_path):
    (tmp_path / ".settings.json").write_text("mine")
    (tmp_path / f".{MARK}-abcdefgh.metrics.csv").write_text("half")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".settings.json"]


def test_what_a_kill_left_halfway_replaced_is_put_back(tmp_path):
    old = tmp_path / f".cohort.{MARK}-abcdefgh.old"
    old.mkdir()
    (old / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "cohort", FolderKind(("a.txt",), "a.txt")):
        raise ZeroDivisionError
    assert (tmp_path / "cohort" / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_a_link_to_a_folder_is_followed_and_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "link", FolderKind(("a.txt",), "a.txt")) as temporary:
        (temporary / "a.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_a_link_to_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "a.txt").symlink_to(tmp_path / "outside.txt")
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "outside.txt").read_text() == "outside"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_permissions_are_those_of_the_older_file_or_of_the_umask(tmp_path):
    code = (
        "import os, sys; os.umask(0o027)\n"
        "from pathlib import Path\n"
        "from vagan.files import FolderKind, new_folder, replacing\n"
        "folder = Path(sys.argv[1])\n"
        "(folder / 'old.txt').touch(); (folder / 'old.txt').chmod(0o600)\n"
        "for name in ('old.txt', 'new.txt'):\n"
        "    with replacing(folder / name) as temporary:\n"
        "        temporary.write_text('x')\n"
        "with new_folder(folder / 'made', FolderKind()):\n"
        "    pass\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"old.txt": 0o600, "new.txt": 0o640, "made": 0o750}


KINDS = {
    COHORT: {"manifest.csv": "image,class\n"},
    hub.EXPORT: {"config.json": '{"hidden_size": 768}', "model.safetensors": "", "README.md": ""},
    onnx.EXPORT: {"model.onnx": "", "README.md": ""},
    monai.EXPORT: {"configs/metadata.json": '"vagan"', "docs/notes.md": ""},
}


@pytest.mark.parametrize("kind", KINDS, ids=["cohort", "hub", "onnx", "monai"])
def test_a_users_folder_with_the_same_names_is_never_replaced(kind, tmp_path):
    out = tmp_path / "out"
    for name, text in KINDS[kind].items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match="out holds"), new_folder(out, kind):
        pass
    assert {name: (out / name).read_text(encoding="utf-8") for name in KINDS[kind]} == KINDS[kind]


def test_what_is_put_into_a_folder_while_a_new_one_is_written_is_not_lost(tmp_path):
    kind, out = FolderKind(("m",), "m"), tmp_path / "out"
    with new_folder(out, kind) as folder:
        (folder / "m").write_text("old")
    with pytest.raises(OutputError, match=r"holds notes\.txt"), new_folder(out, kind) as folder:
        (folder / "m").write_text("new")
        (out / "notes.txt").write_text("mine")
    assert sorted(path.name for path in out.iterdir()) == ["m", "notes.txt"]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod", "fcntl.flock"])
@pytest.mark.parametrize("writer", ["file", "folder"])
def test_a_failed_attempt_leaves_no_temporary_file_and_no_descriptor(failing, writer, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "input/output error")

    kind, out = FolderKind(("m",), "m"), tmp_path / "out"

    def write(text):
        if writer == "file":
            write_text(out, text)
        else:
            with new_folder(out, kind) as folder:
                (folder / "m").write_text(text)

    write("old")
    monkeypatch.setattr(failing, fail)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with suppress(OutputError):
            write("new")
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert list(tmp_path.iterdir()) == [out]
    assert (out if writer == "file" else out / "m").read_text() in ("old", "new")
