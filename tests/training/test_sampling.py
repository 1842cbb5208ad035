import gc
import itertools
import time
import tracemalloc

import numpy as np
import pytest
import torch

from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.effect import posed
from vagan.training.config import Augmentation, Config, Training
from vagan.training.image_cache import ImageCache, RoundRobin, ShuffledImages, prefetch, shuffled


def test_every_round_is_a_new_order_of_all_indices_and_can_be_entered_anywhere():
    rounds = shuffled(4, 0, 40, seed=0, purpose="x").reshape(10, 4)
    assert all(sorted(order) == [0, 1, 2, 3] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 4
    whole = shuffled(7, 0, 50, seed=2, purpose="x")
    for start in (0, 3, 7, 20):
        assert np.array_equal(shuffled(7, start, 11, seed=2, purpose="x"), whole[start : start + 11])


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_images_come_in_the_streams_order_from_memory_or_store(small_cohort, memory_bytes):
    rows = small_cohort.manifest.indices("train")
    cache = ImageCache(small_cohort, rows, memory_bytes=memory_bytes)
    asked = rows[[4, 0, 4, 9]]
    assert np.array_equal(cache.images(asked), small_cohort.images(asked))
    images = ShuffledImages(cache, rows, Config(training=Training(seed=3)), purpose="x")
    drawn, expected = images.draw(2, 9), rows[shuffled(len(rows), 2, 9, seed=3, purpose="x")]
    assert np.array_equal(drawn.rows, expected)
    assert np.array_equal(drawn.images, small_cohort.images(expected))


@pytest.mark.parametrize("axis", [0, 1])
def test_with_mirroring_a_round_holds_each_image_once_as_it_is_and_once_mirrored(small_cohort, axis):
    rows = small_cohort.manifest.indices("train")[:5]
    cache = ImageCache(small_cohort, rows, memory_bytes=2**30)
    stream = ShuffledImages(cache, rows, Config(augmentation=Augmentation(mirror_axis=axis)), purpose="x")
    drawn = stream.draw(10, 10).images.numpy()  # the second round
    images = small_cohort.images(rows).numpy()
    expected = np.concatenate([images, np.flip(images, 2 + axis)])
    assert sorted(image.tobytes() for image in drawn) == sorted(image.tobytes() for image in expected)
    assert np.array_equal(stream.draw(13, 4).images, drawn[3:7])


def test_streams_in_turn_can_be_entered_anywhere(small_cohort):
    rows = small_cohort.manifest.indices("train")
    cache = ImageCache(small_cohort, rows, memory_bytes=2**30)
    streams = [ShuffledImages(cache, part, Config(), purpose=str(len(part))) for part in (rows[:3], rows[3:8])]
    in_turn = RoundRobin(streams)
    whole, _, turns, _ = in_turn.draw(0, 20)
    assert turns.tolist() == [0, 1] * 10
    for number, stream in enumerate(streams):
        assert np.array_equal(whole[number::2], stream.draw(0, 10).images)
    part, _, turns, _ = in_turn.draw(7, 4)
    assert turns.tolist() == [1, 0, 1, 0]
    assert np.array_equal(part, whole[7:11])
    alone, _, turns, _ = RoundRobin(streams[1:]).draw(3, 6)
    assert np.array_equal(alone, streams[1].draw(3, 6).images)
    assert not turns.any()


def test_images_of_several_streams_keep_their_poses(small_cohort):
    rows = small_cohort.manifest.indices("train")
    cache = ImageCache(small_cohort, rows, memory_bytes=2**30)
    config = Config(augmentation=Augmentation(translation=1.0, elastic=0.5))
    streams = [ShuffledImages(cache, part, config, purpose=str(len(part))) for part in (rows[:3], rows[3:8])]
    drawn = RoundRobin(streams).draw(1, 5)
    assert torch.equal(posed(drawn.pose), drawn.images)
    assert torch.equal(drawn.pose.images, small_cohort.images(drawn.rows))
    assert torch.equal(drawn.images[1::2], streams[0].draw(1, 2).images)


@pytest.mark.parametrize("threads", [1, 4])
def test_reading_ahead_keeps_the_order_and_stops_when_the_reader_does(threads):
    loaded = []
    before = torch.get_num_threads()

    def load(step):
        time.sleep(0.01 * (step % 3))  # some overtake others
        loaded.append(step)
        return step * 10

    assert list(prefetch(load, range(2, 12), threads=threads)) == list(range(20, 120, 10))
    loaded.clear()
    for value in prefetch(load, itertools.count(), threads=threads):
        if value == 30:
            break
    assert len(loaded) < 12
    assert torch.get_num_threads() == before


def test_an_error_while_reading_ahead_is_raised_where_its_batch_was_due():
    def load(step):
        if step == 2:
            raise OSError("disk gone")
        return step

    seen = []
    with pytest.raises(OSError, match="disk gone"):
        for value in prefetch(load, range(5)):
            seen.append(value)
    assert seen == [0, 1]


def test_a_cohort_larger_than_the_allowed_memory_is_never_held(tmp_path):
    """What is left after many batches does not grow with the cohort; where all may be held it is."""
    shape = (24, 20, 16)
    image_bytes = 4 * 24 * 20 * 16
    held = {}
    for count in (20, 80):
        cohort = make_synthetic_cohort(tmp_path / str(count), n=count, size=shape)
        for allowed in (10, 1000):
            gc.collect()
            tracemalloc.start()
            cache = ImageCache(cohort, np.arange(count), memory_bytes=allowed * image_bytes)
            for step in range(60):
                cache.images(np.array([step % count, (7 * step) % count]))
            gc.collect()
            held[count, allowed] = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
    assert held[80, 10] < held[20, 10] + 5 * image_bytes
    assert held[80, 1000] > held[20, 1000] + 50 * image_bytes
