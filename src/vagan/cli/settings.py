"""`vagan settings`."""

from vagan.errors import ConfigError, nearest


def settings(*sections: str, preset: str = "fast") -> None:
    """List the settings of a training with their values and meaning; change them by `vagan train --set KEY=VALUE`.

    Parameters
    ----------
    sections
        Only these, such as loss and schedule [default: all].
    preset
        Show the values of this preset, or of a YAML file such as a run's config.yaml.
    """
    from pydantic import BaseModel

    from vagan.training.config import load_config, value_of

    config = load_config(preset)
    known = {name: value for name, value in config if isinstance(value, BaseModel)}
    for name in sections:
        if name not in known:
            raise ConfigError(f"no section of the settings is called {name!r}; {nearest(name, known)}")
    for section in sections or known:
        print(f"{section}: {' '.join((known[section].__doc__ or '').split())}")
        for key, field in type(known[section]).model_fields.items():
            value = value_of(config, f"{section}.{key}")
            shown = str(value).lower() if isinstance(value, bool) else value if value not in ("", ()) else "''"
            print(f"  {section}.{key}={shown}", f"      {' '.join((field.description or '').split())}", sep="\n")
