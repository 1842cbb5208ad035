import pytest
import torch

from vagan.errors import ConfigError
from vagan.training.config import load_config
from vagan.training.engine.device import SAFE_EXTENT, fast_precision, loading_threads, open_fabric, place


def settings(**values):
    return load_config("fast", {f"training.{key}": str(value) for key, value in values.items()}).training


def precision(found, shape=(32, 30)):
    return open_fabric(found, shape).strategy.precision.precision


class TestPrecision:
    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            ({"amx_bf16": True}, "bf16-mixed"),
            ({"amx_bf16": False, "avx512_bf16": True}, "bf16-mixed"),
            ({"amx_bf16": False, "avx512_bf16": False}, "32-true"),
            ({}, "32-true"),
        ],
    )
    def test_auto_asks_the_processor(self, monkeypatch, found, expected):
        monkeypatch.setattr("vagan.training.engine.device._capabilities", lambda: found)
        assert fast_precision(torch.device("cpu")) == expected
        assert precision(settings(device="cpu")) == expected

    @pytest.mark.parametrize("has_units", [True, False])
    def test_a_named_precision_is_taken_as_it_is(self, monkeypatch, has_units):
        monkeypatch.setattr("vagan.training.engine.device._capabilities", lambda: {"amx_bf16": has_units})
        assert precision(settings(device="cpu", precision="32-true")) == "32-true"
        assert precision(settings(device="cpu", precision="bf16-mixed")) == "bf16-mixed"

    def test_small_volumes_are_never_trained_in_bfloat16_on_the_cpu(self):
        bfloat16 = settings(device="cpu", precision="bf16-mixed")
        assert precision(bfloat16, (SAFE_EXTENT - 1, 64, 64)) == "32-true"
        assert precision(bfloat16, (SAFE_EXTENT, 64, 64)) == "bf16-mixed"

    def test_the_processor_is_asked_in_a_way_that_this_pytorch_answers(self):
        assert fast_precision(torch.device("cpu")) in ("32-true", "bf16-mixed")


@pytest.mark.parametrize(
    ("device", "devices", "message"),
    [
        ("no-such-device", 1, r"training\.device 'no-such-device' .* cannot be used here"),
        ("cpu", 0, "`devices` must be at least 1, found 0"),
        ("cpu", -1, "`devices` must be at least 1, found -1"),
    ],
)
def test_a_device_that_is_not_there_is_an_error(device, devices, message):
    with pytest.raises(ConfigError, match=message):
        open_fabric(settings(device=device), (32, 30), devices=devices)


def test_images_are_loaded_by_several_threads_where_an_accelerator_computes(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12), raising=False)
    assert loading_threads(torch.device("cpu")) == 1
    assert [loading_threads(torch.device("cuda"), processes=count) for count in (1, 3, 100)] == [8, 4, 1]


@pytest.mark.parametrize("is_last", [True, False])
def test_networks_get_the_memory_layout(is_last):
    networks = {"some": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))}
    chosen = settings(device="cpu", channels_last=is_last)

    place(networks, open_fabric(chosen, (32, 30)), chosen)

    weight = networks["some"][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is is_last
    assert weight.is_contiguous() is not is_last
