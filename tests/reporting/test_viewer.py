"""What the viewer's scripts get is the image and the maps, within the step of one byte."""

import base64
import json
import zlib

import numpy as np
import pytest

from vagan.inference.overlay import symmetric_range
from vagan.reporting.page import HEADROOM, Case, viewer_data, viewer_scripts

AFFINE = np.array([[0, 2.0, 0, -7], [1.5, 0, 0, 4], [0, 0, 3.0, 9], [0, 0, 0, 1]])


def case(shape, name="a", methods=("VA-GAN", "CAM"), **more):
    rng = np.random.default_rng(len(shape))
    maps = {method: rng.normal(size=(1, *shape)).astype(np.float32) * 0.1 for method in methods}
    return Case(name, "random", rng.uniform(-1, 1, (1, *shape)).astype(np.float32), maps, {}, **more)


def decode(text, shape, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind).reshape(shape)


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7)])
def test_images_and_maps_come_back_within_half_a_step(shape):
    given = case(shape, affine=AFFINE if len(shape) == 3 else None)
    data = viewer_data([given], units={"VA-GAN": "intensity"}, baseline="healthy")
    (shown,) = data["cases"]
    assert shown["shape"] == list(shape)
    assert shown["affine"] == (AFFINE.tolist() if len(shape) == 3 else None)
    image = decode(shown["image"], shape, np.uint8) / 127.5 - 1
    np.testing.assert_allclose(image, given.image[0], atol=0.5 / 127.5 + 1e-6)
    for method in data["methods"]:
        (entry,) = method["maps"]
        values = decode(entry["data"], shape, np.int8) * entry["scale"]
        np.testing.assert_allclose(values, given.maps[method["name"]][0], atol=0.51 * entry["scale"])
        assert method["limit"] == pytest.approx(symmetric_range(given.maps[method["name"]])[1])
    assert [method["off"] for method in data["methods"]] == [True, False]
    assert viewer_data([given], units={"VA-GAN": "intensity"}, baseline="healthy") == data


def test_a_wild_voxel_does_not_make_the_others_coarse():
    given = case((40, 50), methods=("VA-GAN",))
    given.maps["VA-GAN"][0, 3, 4] = 1e4
    ((entry,),) = (method["maps"] for method in viewer_data([given], units={}, baseline="b")["methods"])
    shown = decode(entry["data"], (40, 50), np.int8) * entry["scale"]
    limit = symmetric_range(given.maps["VA-GAN"])[1]
    assert shown[3, 4] == pytest.approx(HEADROOM * limit)
    others = np.delete(shown.ravel() - given.maps["VA-GAN"].ravel(), 3 * 50 + 4)
    assert np.abs(others).max() <= 0.51 * HEADROOM * limit / 127


def test_maps_of_the_last_methods_are_left_out_of_a_page_that_would_be_too_large():
    cases = [case((30, 31), name, methods=tuple("abcd")) for name in "xy"]
    whole = viewer_data(cases, units={}, baseline="b")
    sizes = [len(entry["data"]) for method in whole["methods"] for entry in method["maps"]]
    images = sum(len(entry["image"]) for entry in whole["cases"])
    data = viewer_data(cases, units={}, baseline="b", most_bytes=images + sum(sizes[:5]))
    kept = {method["name"]: [entry is not None for entry in method["maps"]] for method in data["methods"]}
    assert kept == {"a": [True, True], "b": [True, True], "c": [True, False]}
    assert data["left_out"] == ["c", "d"]
    least = viewer_data(cases, units={}, baseline="b", most_bytes=1)
    assert [method["name"] for method in least["methods"]] == ["a"]  # never a viewer without a map


def test_an_image_without_a_methods_map_says_so_and_scripts_cannot_end_their_element():
    data = viewer_data([case((4, 5)), case((4, 5), "b", methods=("VA-GAN",))], units={}, baseline="b")
    assert [entry is None for entry in data["methods"][1]["maps"]] == [False, True]
    json.dumps(data, allow_nan=False)
    text = viewer_scripts(nonce="abc")
    assert text.count('<script nonce="abc">') == text.count("</script") == 3
    given = Case("a", "", np.zeros((1, 3, 4), np.float32), {"m": np.zeros((1, 3, 4), np.float32)}, {})
    ((entry,),) = (method["maps"] for method in viewer_data([given], units={}, baseline="b")["methods"])
    assert not decode(entry["data"], (3, 4), np.int8).any()
