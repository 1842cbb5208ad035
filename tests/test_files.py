import subprocess
import sys

import pytest

from vagan.errors import OutputError
from vagan.files import new_folder, replacing


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError, match="half"), replacing(path) as temporary:
        temporary.write_text("ne", encoding="utf-8")
        raise RuntimeError("half way")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_replaced_whole_and_keeps_its_suffix_while_written(tmp_path):
    path = tmp_path / "new" / "image.nii.gz"
    with replacing(path) as temporary:
        assert temporary.name.endswith("image.nii.gz")
        assert temporary.parent == path.parent
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "whole"


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="choose a folder you may write to"), replacing(tmp_path / "file" / "a.txt"):
        pass


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError, match="half"), new_folder(tmp_path / "out", ours=frozenset({"m"})) as folder:
        (folder / "m").write_text("", encoding="utf-8")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out", ours=frozenset({"m"})) as folder:
        (folder / "m").write_text("first", encoding="utf-8")
        assert not (tmp_path / "out").exists()
    with new_folder(tmp_path / "out", ours=frozenset({"m"})) as folder:
        (folder / "m").write_text("second", encoding="utf-8")
        assert (tmp_path / "out" / "m").read_text(encoding="utf-8") == "first"
    assert (tmp_path / "out" / "m").read_text(encoding="utf-8") == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("", encoding="utf-8")
    (tmp_path / "thesis" / "m").write_text("", encoding="utf-8")  # not even if it holds what a folder of ours does
    with (
        pytest.raises(
            OutputError, match=r"must be new, empty or an older one of its kind: .*thesis holds chapter\.tex"
        ),
        new_folder(tmp_path / "thesis", ours=frozenset({"m"})),
    ):
        pass


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
