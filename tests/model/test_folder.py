import torch
from safetensors.torch import load_file, save_file

from models import save_random_generator
from vagan.model.folder import WEIGHTS, load_model


def test_weights_in_half_precision_are_read_in_the_networks_own(tmp_path):
    folder = save_random_generator(tmp_path / "model")
    weights = load_file(folder / WEIGHTS)
    save_file(
        {name: one.half() if one.is_floating_point() else one for name, one in weights.items()}, folder / WEIGHTS
    )
    network = load_model(folder)[0]
    for name, one in network.state_dict().items():
        assert one.dtype == weights[name].dtype
        torch.testing.assert_close(one, weights[name], atol=1e-3, rtol=1e-3)
