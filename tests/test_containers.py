"""The recipes of the containers fit the project, and each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "apptainer.def").read_text(encoding="utf-8")


def copied_by_docker() -> list[str]:
    """Sources of COPY instructions that come from the project, not from a stage."""
    return [source for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.M) for source in line.split()[:-1]]


def copied_by_apptainer() -> list[str]:
    return [line.split()[0] for line in re.findall(r"^%files\n(.*?)\n\n", APPTAINER, re.M | re.S)[0].splitlines()]


def test_both_copy_the_same_files_and_these_exist():
    assert copied_by_docker() == copied_by_apptainer() == ["pyproject.toml", "README.md", "LICENSE", "src"]
    assert all((ROOT / source).exists() for source in copied_by_docker())


@pytest.mark.parametrize("pattern", [r"^(?:FROM|From:) (\S+)", r"(uv==\S+)\"", r"uv pip install (.*)"])
def test_both_build_the_same_way(pattern):
    docker, apptainer = re.findall(pattern, DOCKERFILE, re.M), re.findall(pattern, APPTAINER, re.M)
    assert docker
    assert [found.replace("$TORCH_BACKEND", "{{ TORCH_BACKEND }}") for found in docker] == apptainer


def test_bases_are_pinned_to_a_release_and_its_content():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base) for base in bases), bases


def test_it_runs_as_an_ordinary_user_and_takes_signals_itself():
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last_stage, re.M)[-1] not in ("0", "root")
    assert 'ENTRYPOINT ["vagan"]' in last_stage  # in shell form the shell would get the signal of `docker stop`
    assert 'exec vagan "$@"' in APPTAINER


def test_extras_of_the_recipes_exist():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (named,) = set(re.findall(r'"\.\[(.*)\]"', DOCKERFILE + APPTAINER))
    assert set(named.split(",")) <= set(extras)
