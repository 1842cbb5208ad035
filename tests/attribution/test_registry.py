import pytest

from vagan.attribution.registry import METHODS, find_method
from vagan.errors import ConfigError


def test_a_name_leads_to_its_entry_and_a_mistyped_one_to_the_nearest():
    assert find_method("cam") is METHODS["cam"]
    with pytest.raises(ConfigError, match=r"called 'guided-backprob'; did you mean 'guided-backprop'\?"):
        find_method("guided-backprob")


def test_names_are_made_for_a_command_line():
    assert all(name == name.lower() and name.replace("-", "").isalpha() for name in METHODS)
