"""The report in a browser: it draws, stays silent, asks for nothing, and its controls move the pictures."""

import json

import numpy as np
import pytest

from vagan.data.sources.synthetic import make_case
from vagan.inference.overlay import plane
from vagan.reporting.report import build_report

pytestmark = pytest.mark.browser

NASTY = "<img src=x onerror=alert(1)>"
WIDTHS = pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])


def graded(size):
    """From faint to strong along the last axis."""
    return np.linspace(0.1, 0.7, size[-1], dtype=np.float32)


AFFINE = np.array([[2.0, 0, 0, -20], [0, 1.5, 0, -30], [0, 0, 3.0, 40], [0, 0, 0, 1]])


def results(folder, size):
    """A results folder of two images: one method knows the effect, the other one knows nothing."""
    cases = [make_case(row, subtype="AB"[row], size=size) for row in range(2)]
    images, effects = (np.stack([getattr(case, name)[None] for case in cases]) for name in ("image", "effect"))
    np.savez(
        folder / "examples.npz",
        ids=np.array(["one", NASTY]),
        images=images,
        effects=effects,
        roles=np.array(["best", "worst, random"]),
        affine=AFFINE,
        **{"maps/VA-GAN": effects * graded(size), "maps/CAM": -effects},
    )
    score = {"mean": 0.9, "std": 0.1, "ci95": [0.8, 1.0], "n": 2}
    summary = {
        "methods": {"VA-GAN": {"ncc": score}, "CAM": {"ncc": {**score, "mean": 0.2}}},
        "units": {"VA-GAN": "intensity", "CAM": "class score"},
        "rules": {"examples": "best, worst: by NCC"},
        "cohort": {"source": "squares", "classes": ["healthy", "ill"]},
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    rows = [f"{name},s,1,{method},ncc,0.5" for name in ("one", NASTY) for method in ("VA-GAN", "CAM")]
    (folder / "scores.csv").write_text("\n".join(["case,subject,label,method,metric,value", *rows]), encoding="utf-8")
    return build_report(folder).as_uri()


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return results(tmp_path_factory.mktemp("flat"), (24, 31))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return results(tmp_path_factory.mktemp("deep"), (24, 26, 28))


def differ(one, other):
    """Share of the pixels that changed visibly."""
    return float((np.abs(one - other).max(axis=-1) > 8).mean())


def require_quiet(seen, address):
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith(("data:", "blob:"))] == [address]


def require_fits(seen):
    """Nothing makes the page itself scroll sideways."""
    assert seen.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@WIDTHS
def test_pictures_follow_the_sliders(visit, flat, width, scheme):
    with visit(width, scheme) as seen:
        seen.open(flat).ready()
        left, right = ".pair canvas:first-child", ".pair canvas:last-child"
        on_screen = seen.pixels(left)
        as_it_is, effect = seen.drawn(left), seen.drawn(right)
        assert differ(as_it_is, effect) > 0.02  # the effect is coloured
        seen.set("blend", 1)
        assert differ(as_it_is, seen.drawn(left)) > 0.02
        assert differ(effect, seen.drawn(right)) == 0
        assert differ(on_screen, seen.pixels(left)) > 0.02
        seen.set("threshold", 1)
        assert differ(effect, seen.drawn(right)) > 0.02
        seen.set("threshold", 0)
        seen.set("opacity", 0)
        seen.set("blend", 0)
        assert differ(seen.drawn(right), as_it_is) == 0  # nothing over the image
        seen.page.select_option("select[name=method]", "CAM")
        seen.ready()
        assert seen.page.locator("input[name=blend]").is_disabled()  # a class score cannot be taken off an image
        seen.set("opacity", 1)
        assert seen.page.locator(".stage .name").nth(1).inner_text() == NASTY
        assert seen.page.locator(".score").first.inner_text() == "NCC 0.500"
        require_fits(seen)
        require_quiet(seen, flat)


def test_what_is_drawn_is_the_image_less_the_map_in_its_window(visit, flat):
    case = make_case(0, subtype="A", size=(24, 31))
    with visit() as seen:
        seen.open(flat).ready()
        seen.set("blend", 1)
        less = seen.drawn(".pair canvas")[..., 0]
        seen.set("blend", 0)
        seen.set("black", -0.5)
        seen.set("white", 0.5)
        stretched = seen.drawn(".pair canvas")[..., 0]
    expected = ((case.image - graded((24, 31)) * case.effect + 1) * 127.5).clip(0, 255)
    assert np.abs(less - expected).max() <= 2
    assert np.abs(stretched - ((case.image + 0.5) * 255).clip(0, 255)).max() <= 3


@WIDTHS
def test_volumes_follow_the_sliders(visit, deep, width, scheme):
    with visit(width, scheme) as seen:
        seen.open(deep).ready()
        planes = ".planes"
        first = seen.pixels(planes)
        coloured = np.abs(first[..., 0] - first[..., 2]) > 40
        assert coloured.mean() > 0.01  # reds over greys
        seen.set("opacity", 0)
        grey = seen.pixels(planes)
        assert differ(first, grey) > 0.01
        seen.set("blend", 1)
        assert differ(grey, seen.pixels(planes)) > 0.01
        seen.set("blend", 0)
        seen.set("opacity", 0.85)
        seen.set("threshold", 1)
        assert differ(first, seen.pixels(planes)) > 0.01
        seen.set("threshold", 0.1)
        before = seen.pixels(planes)
        position = seen.page.locator("figcaption output").inner_text()
        seen.page.locator(".plane canvas").first.focus()
        for _ in range(4):
            seen.page.keyboard.press("ArrowUp")
        assert differ(before, seen.pixels(planes)) > 0.003  # the other planes moved with it
        assert seen.page.locator("figcaption output").inner_text() != position
        seen.page.select_option("select[name=image]", index=1)
        seen.ready()
        assert seen.page.locator(".viewer .name").inner_text() == NASTY
        require_fits(seen)
        require_quiet(seen, deep)


def test_slices_show_their_voxels_in_mm_and_follow_each_other(visit, deep):
    case = make_case(0, subtype="A", size=(24, 26, 28))
    grey = ((case.image + 1) * 127.5).round()
    with visit() as seen:
        seen.open(deep).ready()
        seen.set("opacity", 0)
        canvases = seen.page.locator(".plane canvas")
        at = [int(index) for index in np.unravel_index(np.abs(case.effect * graded(grey.shape)).argmax(), grey.shape)]
        for number, (name, axis) in enumerate((("Coronal", 1), ("Sagittal", 0), ("Axial", 2))):
            assert canvases.nth(number).get_attribute("aria-label").startswith(name)
            shown = seen.drawn(f".plane:nth-child({number + 1}) canvas")[..., 0]
            np.testing.assert_allclose(shown, plane(grey[None], axis, at[axis])[0], atol=1)
        boxes = [canvases.nth(number).bounding_box() for number in range(3)]
        mm = np.array(grey.shape) * [2, 1.5, 3]
        for box, (across, up) in zip(boxes, ((0, 2), (1, 2), (0, 1)), strict=True):
            assert box["width"] / box["height"] == pytest.approx(mm[across] / mm[up], rel=0.02)
            assert box["width"] / mm[across] == pytest.approx(boxes[0]["width"] / mm[0], rel=0.02)
        # a click into the axial slice: third voxel from the left, second from the top
        canvases.nth(2).click(position={"x": 2.5 / 24 * boxes[2]["width"], "y": 1.5 / 26 * boxes[2]["height"]})
        told = seen.page.locator("figcaption output").inner_text().replace("−", "-")
        x, y, z = AFFINE[:3, :3] @ [2, 24, at[2]] + AFFINE[:3, 3]
        assert told.startswith(f"x {x:.1f}, y {y:.1f}, z {z:.1f} mm: intensity {case.image[2, 24, at[2]]:.2f}")
        shown = seen.drawn(".plane:nth-child(1) canvas")[..., 0]
        np.testing.assert_allclose(shown, plane(grey[None], 1, 24)[0], atol=1)
        canvases.nth(2).hover()
        seen.page.mouse.wheel(0, -120)
        shown = seen.drawn(".plane:nth-child(3) canvas")[..., 0]
        np.testing.assert_allclose(shown, plane(grey[None], 2, at[2] + 1)[0], atol=1)


def test_everything_can_be_reached_with_the_keyboard(visit, deep):
    with visit() as seen:
        seen.open(deep).ready()
        reached = set()
        for _ in range(40):
            seen.page.keyboard.press("Tab")
            reached.add(
                seen.page.evaluate(
                    "(e => e.name || e.tagName + (e.closest('th') ? ' in th' : ''))(document.activeElement)"
                )
            )
        assert {"method", "image", "blend", "threshold", "opacity", "CANVAS", "BUTTON in th", "SUMMARY"} <= reached
        slider = seen.page.locator("input[name=opacity]")
        slider.focus()
        before = float(slider.input_value())
        seen.page.keyboard.press("ArrowLeft")
        assert float(slider.input_value()) < before
        seen.page.locator("#score-table button").nth(1).focus()
        seen.page.keyboard.press("Enter")
        assert seen.page.locator("#score-table tbody th").first.inner_text() == "CAM"  # the other way round
