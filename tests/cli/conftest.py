from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from vagan.cli.app import main


@pytest.fixture
def vagan(capsys):
    """Run the command; gives its exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def refused(vagan, tmp_path):
    """Run a command that must be refused: exit code 2, one line, and nothing on disk changed."""

    def run(*arguments):
        before = snapshot(tmp_path)
        code, _, error = vagan(*arguments)
        assert code == 2, error
        lines = [line for line in error.splitlines() if line.startswith("vagan: ")]
        assert len(lines) == 1, error
        assert "Traceback" not in error
        assert snapshot(tmp_path) == before
        return lines[0]

    return run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Two folders of thirty 21x18 grey pictures; ill ones have a bright bar."""
    rng = np.random.default_rng(1)
    for name in ("healthy", "ill"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            image = rng.integers(0, 150, (21, 18), dtype=np.uint8)
            image[5:9, 4:15] += 90 * (name == "ill")
            imageio.imwrite(tmp_path / "pictures" / name / f"{number:02d}.png", image)
    return tmp_path / "pictures"
