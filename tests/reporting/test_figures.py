"""Colours, ranges and pixel sizes of what readers look at."""

import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vagan.data.sources.synthetic import make_case
from vagan.evaluation.results import SummaryFile
from vagan.inference.overlay import Overlays, contact_sheets, overlay, small_row, symmetric_range
from vagan.reporting.figures import (
    DARK_INK,
    INK,
    Examples,
    as_data_uri,
    example_grid,
    on_dark,
    rendered,
    score_bars,
    training_curves,
)


def examples(size: tuple[int, ...], count: int = 2) -> Examples:
    cases = [make_case(row, subtype="AB"[row % 2], size=size) for row in range(count)]
    images = np.stack([case.image[None] for case in cases])
    effects = np.stack([case.effect[None] for case in cases])
    return Examples(tuple("ab"[:count]), images, effects, {"strong": 5 * effects, "weak $x": -0.01 * effects})


def save_overlay(path, image, effect):
    with Overlays() as overlays:
        overlays.add(path, image, effect)
        overlays.write()


def drawn_images(figure: Figure) -> list[list]:
    """Images of each column, from left to right."""
    columns: dict[int, list] = {}
    for axes in figure.axes:
        for drawn in axes.images:
            columns.setdefault(axes.get_subplotspec().colspan.start, []).append(drawn)
    return [columns[place] for place in sorted(columns)]


def test_range_is_symmetric_whatever_the_balance_of_signs():
    maps = np.random.default_rng(0).standard_normal((3, 1, 7, 8)) + 5
    low, high = symmetric_range(maps)
    assert low == -high
    assert symmetric_range(-maps) == (low, high)
    assert np.quantile(np.abs(maps), 0.99) < high <= np.abs(maps).max()
    # a small lesion's own size; nothing; one extreme pixel, which does not count
    for rest, extreme, limit in ((0, -0.25, 0.25), (0, 0, 1), (1, 1000, 1)):
        maps = np.full((1, 1, 70, 80), float(rest))
        maps[0, 0, 3, 4] = extreme
        assert symmetric_range(maps) == (-limit, limit)


def test_overlay_colours_effects_and_leaves_the_rest_grey():
    image = np.linspace(-1, 1, 56, dtype=np.float32).reshape(1, 7, 8)
    effect = np.zeros_like(image)
    effect[0, 2, 3], effect[0, 5, 1] = 0.5, -0.5
    colours = overlay(image, effect).astype(int)
    assert colours.shape == (7, 8, 3)
    assert overlay(image, effect).dtype == np.uint8
    untouched = effect[0] == 0
    expected = np.round((image[0] + 1) / 2 * 255).astype(int)
    np.testing.assert_array_equal(colours[untouched], np.repeat(expected[untouched][:, None], 3, axis=1))
    red_over_blue = colours[..., 0] - colours[..., 2]
    assert red_over_blue[2, 3] > 80 > -80 > red_over_blue[5, 1]
    effect[0, 0] = np.linspace(0, 1, 8)
    colours = overlay(0 * image, effect, limit=1.0).astype(int)[0]
    assert (np.diff(colours[:, 0] - colours[:, 2]) > 0).all()
    with pytest.raises(ValueError, match=r"\(1, 7, 8\) and \(1, 8, 7\)"):
        overlay(np.zeros((1, 7, 8)), np.zeros((1, 8, 7)))


def test_saved_overlay_has_the_pixels_of_the_image_and_no_colour_of_it(tmp_path):
    case = make_case(0, subtype="A", size=(37, 52))
    save_overlay(tmp_path / "a.png", case.image[None], case.effect[None])
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), overlay(case.image[None], case.effect[None]))
    image = np.stack([np.full((7, 8), 0.9), *np.zeros((2, 7, 8))]).astype(np.float32)
    save_overlay(tmp_path / "a.png", image, np.zeros_like(image))
    with Image.open(tmp_path / "a.png") as picture:
        assert len(np.unique(np.asarray(picture))) == 1


def test_overlays_of_one_call_share_the_range_of_the_strongest(tmp_path):
    image, effect = np.zeros((1, 7, 8)), np.linspace(-1, 1, 56).reshape(1, 7, 8)
    with Overlays() as overlays:
        for name, strength in (("weak", 0.1), ("strong", 1.0), ("none", 0.0)):
            overlays.add(tmp_path / f"{name}.png", image, strength * effect)
        overlays.write()
    limit = symmetric_range(effect)[1]
    for name, strength in (("weak", 0.1), ("strong", 1.0), ("none", 0.0)):
        expected = overlay(image, strength * effect, limit=limit)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{name}.png")), expected)


def test_a_contact_sheet_holds_all_images_of_any_shape_in_one_range():
    parts = ("image", "counterfactual", "effect")
    rows = [small_row(f"{n}", dict.fromkeys(parts, np.full((7, 600 if n else 8), 0.1 * n))) for n in range(130)]
    first, second = (figure.axes[0].images for figure in contact_sheets(rows))
    assert (len(first), len(second)) == (3 * 120, 3 * 10)
    assert {picture.get_clim() for picture in [*first[2::3], *second[2::3]]} == {(-12.9, 12.9)}
    assert max(first[3].get_array().shape) == 200


def test_saved_overlay_of_a_volume_cuts_through_the_peak(tmp_path):
    volume = np.full((1, 7, 9, 12), -1, np.float32)
    effect = np.zeros_like(volume)
    effect[0, 2, 3, 10] = -1.0
    save_overlay(tmp_path / "a.png", volume, effect)
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (12, 9 + 7 + 7, 3)
    blue = np.argwhere(pixels[..., 2] > 100)
    # superior and anterior are up: z = 10 of 12 is row 1; y = 3 of 9 is row 5, below 1 row of padding
    np.testing.assert_array_equal(blue, [[1, 3], [1, 9 + 2], [1 + 5, 9 + 7 + 2]])


def test_grid_shares_one_range_within_a_method_and_shows_the_arrays_themselves():
    shown = examples((37, 52))
    figure = example_grid(shown, ["strong", "weak $x"])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()][1] == "known effect"
    columns = drawn_images(figure)
    for column, arrays, limit in zip(
        columns, [shown.images, shown.effects, *shown.maps.values()], (1, 1, 5, 0.01), strict=True
    ):
        for drawn, array in zip(column, arrays, strict=True):
            assert drawn.get_clim() == pytest.approx((-limit, limit))
            np.testing.assert_array_equal(drawn.get_array(), array[0])
    assert {drawn.get_cmap().name for column in columns[1:] for drawn in column} == {"RdBu_r"}
    printed = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert {"−5", "+5", "−0.01", "+0.01"} <= set(printed)


def test_grid_of_volumes_shows_the_slice_with_most_effect_and_names_it():
    images = np.zeros((2, 1, 7, 8, 9), np.float32)
    effects = np.zeros_like(images)
    effects[0, 0, 1, 2, 6] = 1
    figure = example_grid(Examples(("a", "b"), images, effects, {"m": effects}), ["m"])
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["a\nz = 6", "b\nz = 4"]
    observed = drawn_images(figure)[1][0].get_array()
    assert observed.shape == (8, 7)
    assert np.argwhere(observed).tolist() == [[8 - 1 - 2, 1]]


def test_ids_may_hold_formulae_and_letters_that_the_font_lacks():
    one = examples((16, 20), count=1)
    figure = example_grid(Examples(("$\\frac 患者",), one.images, None, {}), [])
    assert rendered(figure, "png").startswith(b"\x89PNG")


def metrics() -> pd.DataFrame:
    update = np.arange(1, 41)
    sparse = np.where(update % 10 == 0, 0.5, np.nan)
    table = {"update": update, "seconds": update * 0.1, "critic/wasserstein": 1 / update, "critic/slope": 1.0}
    table |= {"generator/map": 0.1, "generator/baseline_map": 0.01}
    return pd.DataFrame(table | {"validation/baseline_response_ratio": sparse, "monitor/ncc": sparse})


def test_training_curves_hold_the_logged_values():
    def titles(table):
        return [axes.get_title(loc="left") for axes in training_curves(table).axes]

    figure = training_curves(metrics())
    assert sum("never used for selection" in title for title in titles(metrics())) == 1
    raw, smooth = figure.axes[0].lines
    np.testing.assert_allclose(raw.get_ydata(), 1 / np.arange(1, 41))
    assert np.ptp(smooth.get_ydata()) <= np.ptp(raw.get_ydata())
    (monitor,) = figure.axes[-1].lines
    np.testing.assert_array_equal(monitor.get_xdata(), [10, 20, 30, 40])
    assert not any("NCC" in title for title in titles(metrics().assign(**{"monitor/ncc": np.nan})))
    other = pd.DataFrame({"update": [1, 2, 3], "seconds": [0.1, 0.2, 0.3], "classifier/loss": [3.0, 2.0, 1.0]})
    assert titles(other) == ["classifier/loss"]


def score(mean: float | None) -> dict[str, object]:
    return {"mean": mean, "std": 0.1, "ci95": [None, None] if mean is None else [mean - 0.02, mean + 0.02], "n": 9}


def test_score_bars_are_ordered_and_hold_the_numbers():
    methods = {"low": {"ncc": score(0.2)}, "high": {"ncc": score(0.9)}}
    methods |= {"none": {"dice": score(1)}, "nan": {"ncc": score(None)}}
    summary = {"methods": methods, "ceiling": {"ncc": score(0.97)}}
    (axes,) = score_bars(SummaryFile.model_validate(summary)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "high"]
    deviation, interval, mean = axes.lines[3:6]
    np.testing.assert_allclose(deviation.get_xdata(), [0.8, 1.0])
    np.testing.assert_allclose(interval.get_xdata(), [0.88, 0.92])
    assert list(mean.get_xdata()) == [0.9]
    assert set(axes.lines[6].get_xdata()) == {0.97}
    summary["references"] = {"real": {"flip_rate": score(0.95)}}
    summary["methods"]["low"]["flip_rate"] = score(0.7)
    first, second = score_bars(SummaryFile.model_validate(summary), "ncc", "flip_rate").axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["low", "high"]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["real 0.950"]


def test_data_uri_is_vectors_without_outside_references():
    kind, _, content = as_data_uri(training_curves(metrics())).partition(",")
    assert kind == "data:image/svg+xml"
    assert not set(content) & set(" \"'<>,")
    assert not re.search(r"""(href|src)\s*=\s*["'](?!#|data:)""", unquote(content))


@pytest.mark.parametrize(
    "figure", [training_curves(metrics()), example_grid(examples((20, 16)), ["strong"])], ids=["curves", "examples"]
)
def test_all_text_and_nothing_else_is_light_on_a_dark_page(figure):
    light = as_data_uri(figure)
    for uri, ink in ((light, INK), (on_dark(light), DARK_INK)):
        texts = re.findall(r'<g id="text_\d+">(.*?)(?=<g id=|\Z)', unquote(uri), flags=re.DOTALL)
        assert len(texts) > 3
        assert all(f"fill: {ink}" in text for text in texts)
    assert unquote(on_dark(light)).replace(DARK_INK, INK) == unquote(light)
