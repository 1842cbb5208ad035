import re

import pytest

from models import save_random_generator
from vagan.attribution.registry import METHODS, find_slug
from vagan.cli.attribute import attribute
from vagan.errors import ConfigError
from vagan.inference.attributor import Attributor


def test_options_and_tables_have_the_same_names():
    for slug, entry in METHODS.items():
        in_table = entry.label.lower().replace(",", "").replace(" ", "-")
        assert slug == ("vagan" if in_table == "va-gan" else in_table)


def test_the_help_of_attribute_lists_the_methods_that_explain_a_classifier():
    text = attribute.__doc__.partition("For a classifier: ")[2].partition(" as well")[0]
    assert set(re.findall(r"[a-z0-9-]+", text)) >= {
        s for s, entry in METHODS.items() if entry.explains("cam-classifier")
    }


def test_a_name_leads_to_its_entry_and_a_mistyped_one_to_the_nearest():
    assert all(find_slug(name) == slug for slug, entry in METHODS.items() for name in (slug, entry.label.upper()))
    with pytest.raises(ConfigError, match=r"called 'guided-backprob'; did you mean 'guided-backprop'\?"):
        find_slug("guided-backprob")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("map-generator", "cam"), *(("classifier", name) for name in ("", "vagan", "cam", "group-mean-difference"))],
)
def test_a_method_that_cannot_explain_the_model_is_refused(tmp_path, kind, name):
    model = save_random_generator(tmp_path / "model", kind=kind)
    with pytest.raises(ConfigError, match=f"{kind}.*{name or 'guided-backprop, .*random'}"):
        Attributor.load(model, name)
