"""Models that must know the age: attribute, evaluate, and what is refused."""

import json

import numpy as np
import pytest
import torch

from models import save_random_generator
from vagan.data.covariates import Covariate
from vagan.data.image_file import read_image
from vagan.inference.attributor import Attributor

AGE, SEX = (
    Covariate(name="age", mean=70, std=8, baseline_range=(55.0, 85.0)),
    Covariate(name="sex", categories=("F", "M")),
)


@pytest.fixture
def model(tmp_path):
    return save_random_generator(tmp_path / "model", shape=(21, 18), covariates=(AGE, SEX))


def test_maps_are_of_an_image_of_that_age(vagan, model, pictures, tmp_path):
    image = pictures / "ill" / "03.png"
    prepared = torch.from_numpy(read_image(image, "grey").array)[None] / 255 * 2 - 1
    maps = {}
    for age in ("70", "91"):
        folder = tmp_path / age
        code, said, _ = vagan("attribute", model, image, "--out", folder, "--covariates", f"age={age},sex=M")
        assert code == 0
        assert ("warning:" in said) == (age == "91")
        maps[age] = np.load(folder / "03_effect.npy")
        expected = Attributor.load(model).effect(prepared, {"sex": "M", "age": age})
        np.testing.assert_allclose(maps[age], expected[0, 0], atol=1e-5)
    assert not np.allclose(maps["70"], maps["91"])
    about = {age: json.loads((tmp_path / age / "03_effect.json").read_text(encoding="utf-8")) for age in maps}
    assert about["70"]["covariates"] == {"age": "70", "sex": "M"}
    assert "covariates_beyond" not in about["70"]
    assert about["91"]["covariates_beyond"] == [
        "age is outside the range of the baseline images, 55 to 85: an extrapolation"
    ]
