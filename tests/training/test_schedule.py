import pytest

from vagan.training.config import Schedule, load_config
from vagan.training.schedule import UpdateOrder, cosine_decay, critic_updates_before, ema_decay


def test_the_papers_schedule_makes_8230_critic_updates_in_1000_generator_updates():
    schedule = load_config("paper").schedule
    counts = [critic_updates_before(update, schedule) for update in range(1000)]
    assert counts[:25] == [100] * 25
    assert counts[25:100] == [5] * 75
    assert counts[100] == counts[900] == 100
    assert sum(counts) == 8230


def test_the_order_of_updates_is_that_of_a_plain_loop():
    schedule = Schedule(critic_updates=2, boosted_critic_updates=4, warmup_generator_updates=1, boost_every=3)
    expected = []
    for update in range(5):
        expected += ["critic"] * critic_updates_before(update, schedule) + ["generator"]
    order = UpdateOrder(5, schedule)
    assert order.total == len(expected)
    assert ["generator" if order.is_generator_update(i) else "critic" for i in range(order.total)] == expected
    for position in range(order.total + 1):
        assert order.generator_updates_before(position) == expected[:position].count("generator")


def test_rates_and_averages_start_and_end_where_they_should():
    assert cosine_decay(0.5, decay_from=0.5) == 1
    assert cosine_decay(0.75, decay_from=0.5) == pytest.approx(0.5)
    assert cosine_decay(1.0, decay_from=0.5) == pytest.approx(0)
    assert cosine_decay(1.0, decay_from=1.0) == 1
    decays = [ema_decay(update, rampup=0.1, max_decay=0.9) for update in range(200)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.9
    assert ema_decay(50, rampup=0.1, max_decay=0.0) == 0


@pytest.mark.parametrize("rampup", [0.1, 0.25, 0.4])
def test_the_average_is_as_old_as_its_reach_says(rampup):
    updates, mean_age = 2000, 0.0
    for update in range(1, updates):  # one newer at each update, but for the share that the newest has
        mean_age = ema_decay(update, rampup=rampup, max_decay=0.9999) * (mean_age + 1)
    assert mean_age / updates == pytest.approx(rampup, rel=0.02)
