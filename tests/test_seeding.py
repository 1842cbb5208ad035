import torch

from vagan.seeding import numpy_generator, seeded


def test_draws_depend_on_every_argument_and_on_nothing_else():
    draws = {
        tuple(numpy_generator(*key).integers(2**30, size=4))
        for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 1)]
    }
    assert len(draws) == 6
    assert numpy_generator(5, "x", 2).random() == numpy_generator(5, "x", 2).random()


def test_seeding_a_block_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(9, "weights"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(9, "weights"):
        assert torch.equal(torch.rand(3), inside)
