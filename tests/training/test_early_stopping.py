from vagan.training.early_stopping import EarlyStopping


def completed_at(ratios, distances):
    """Generator update after which training is first complete, with five critic updates before each; 0: never."""
    stopping = EarlyStopping()
    for update, (ratio, distance) in enumerate(zip(ratios, distances, strict=True), start=1):
        for _ in range(5):
            stopping.add_critic_update(distance)
        stopping.add_generator_update(2.0, 2.0 * ratio)
        if update >= 100 and stopping.is_complete():
            return update
    return 0


def test_training_is_complete_when_maps_of_baseline_images_are_small_and_shrink_no_more():
    fallen, falling = [0.1] * 300, [0.99**update for update in range(300)]
    assert 175 < completed_at(fallen, [1.0] * 300) < 235
    assert completed_at(falling, [1.0] * 300) == 0
    assert completed_at([0.2] * 300, [1.0] * 300) == 0
    assert 200 < completed_at([0.2] * 150 + [0.1] * 200, [1.0] * 350) < 295
    late = [1.0] * 120 + [0.1] * 280
    assert 120 + 175 < completed_at(late, [1.0] * 400) < 120 + 235


def test_training_is_not_complete_between_batches_with_large_maps():
    ratios = ([0.5] * 3 + [0.112] * 45) * 8  # a mean of 0.136, above the limit
    assert completed_at(ratios, [1.0] * len(ratios)) == 0


def test_training_is_complete_when_the_critic_overfits():
    falling = [max(5.0 - 0.05 * update, 1.0) for update in range(300)]
    overfits = [*falling[:150], *(1.0 + 0.05 * update for update in range(150))]
    assert completed_at([0.5] * 300, falling) == 0
    assert completed_at([0.5] * 300, [5.0 + 0.05 * update for update in range(300)]) == 0  # it has not fallen yet
    assert 190 <= completed_at([0.5] * 300, overfits) <= 230  # 1 to 3, half of the fall, and the delay of the mean


def test_empty_maps_are_no_sign_of_completion():
    stopping = EarlyStopping()
    for _ in range(300):
        stopping.add_generator_update(1e-7, 1e-8)
    assert not stopping.is_complete()
