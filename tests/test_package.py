"""What is published: the wheel and the source archive, and the wheel at work where nothing else of the project is."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from test_containers import copied_by_docker
from trainings import TINY

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/vagan"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

IMPORT_ALL = """
import importlib, pkgutil, vagan
from vagan.errors import MissingExtraError
for module in pkgutil.walk_packages(vagan.__path__, "vagan."):
    try:
        importlib.import_module(module.name)
    except MissingExtraError as error:
        assert "pip install 'vagan[" in str(error)
    except ImportError as error:
        print(f"{module.name}:{error.name}")
"""

pytestmark = pytest.mark.long


def uv(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run uv, which is to find what pip finds."""
    places = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if "PIP_FIND_LINKS" in os.environ else {}
    return run(sys.executable, "-m", "uv", "--no-progress", *arguments, cwd=cwd, **places)


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """Standard output of a command that must succeed, without this process's own paths of modules."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=inherited | variables,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The source archive."""
    folder = tmp_path_factory.mktemp("archive")
    uv("build", "--sdist", "--out-dir", folder, ROOT)
    (path,) = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(archive):
    """The wheel, built from the source archive."""
    uv("build", "--wheel", "--out-dir", archive.parent, archive)
    (path,) = archive.parent.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """Folder of the programs of an environment with the wheel and what it requires, but no extra."""
    folder = tmp_path_factory.mktemp("clean")
    uv("venv", "--python", sys.executable, folder / "env")
    # the same PyTorch as here: the newest one would be the build for GPUs, gigabytes larger
    uv("pip", "install", "--python", folder / "env", wheel, f"torch=={version('torch')}")
    return folder / "env" / ("Scripts" if os.name == "nt" else "bin")


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel, tmp_path):
    with ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if ".dist-info/" not in name}
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert packed == {path.relative_to(SOURCE.parent).as_posix() for path in files}
    for name in copied_by_docker():  # what the containers copy is enough
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for source in (ROOT, tmp_path):
        uv("build", "--wheel", "--out-dir", tmp_path / "out", source)
        assert (tmp_path / "out" / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_source_archive_is_whole(archive, tmp_path):
    """Its tests of the documents read the results, the examples and the sources, and pass where it is unpacked."""
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_documents.py")
    assert " passed" in run(*command, cwd=unpacked, PYTHONPATH=str(unpacked / "src"))


def test_installed_alone_it_trains_draws_maps_and_reports(clean, tmp_path):
    vagan = clean / "vagan"
    assert run(vagan, "--version", cwd=tmp_path).strip() == PROJECT["version"]
    assert "vagan demo" in run(vagan, "--help", cwd=tmp_path)
    run(vagan, "synth", "cohort", "--images", "60", "--size", "18x17", cwd=tmp_path)
    run(vagan, "train", "cohort", "run", *TINY, cwd=tmp_path)
    np.save(tmp_path / "one.npy", np.linspace(-1, 1, 18 * 17, dtype=np.float32).reshape(18, 17))
    run(vagan, "attribute", "run", "one.npy", "--out", "maps", cwd=tmp_path)
    (drawn,) = (tmp_path / "maps").glob("*_effect.npy")
    assert np.load(drawn).shape == (18, 17)
    assert {path.suffix for path in (tmp_path / "maps").iterdir()} == {".npy", ".png", ".json"}
    run(vagan, "evaluate", "cohort", "run", "--out", "scores", cwd=tmp_path)
    run(vagan, "report", "scores", cwd=tmp_path)
    assert (tmp_path / "scores" / "report.html").is_file()


def test_installed_alone_all_of_it_imports_or_says_which_extra_it_needs(clean, tmp_path):
    """Modules of the local page alone may import their extra at once: their command has checked for it."""
    missing = run(clean / "python", "-c", IMPORT_ALL, cwd=tmp_path).split()
    assert [name for name in missing if not name.startswith("vagan.serving.")] == []


def test_installed_alone_its_types_are_seen(clean, tmp_path):
    (tmp_path / "user.py").write_text("from vagan.errors import nearest\nreveal_type(nearest('a', 'b'))\n", "utf-8")
    mypy = (sys.executable, "-m", "mypy", "--python-executable", clean / "python", "--cache-dir", tmp_path / "cache")
    assert 'Revealed type is "str"' in run(*mypy, "user.py", cwd=tmp_path).replace("builtins.", "")


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_extras_resolve(extra):
    command = ("pip", "compile", "--universal", "--quiet", "--no-header", "--no-annotate", "--extra", extra)
    names = {re.split(r"[=;\[ ]", line)[0] for line in uv(*command, ROOT / "pyproject.toml").splitlines()}
    assert names >= {Requirement(text).name.lower() for text in PROJECT["dependencies"]}


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_lower_bound_can_be_had(extra):
    """A bound below what the others allow, or at a withdrawn release, says something that nobody ever tried."""
    command = ("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", "3.11")
    printed = uv(*command, "--resolution", "lowest-direct", "--extra", extra, ROOT / "pyproject.toml")
    resolved = dict(line.split("==") for line in printed.splitlines())
    bounds: dict[str, Version] = {}
    for part in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]):
        for specifier in part.specifier:
            if specifier.operator == ">=":  # an extra may ask for more than the package does
                name, bound = part.name.lower(), Version(specifier.version)
                bounds[name] = max(bound, bounds.get(name, bound))
    found = {name: Version(resolved[name]).release[: len(bound.release)] for name, bound in bounds.items()}
    assert found == {name: bound.release for name, bound in bounds.items()}
