"""Turns what validation found into sentences: the key, what was found, what is expected.

Owns the wording and the did-you-mean. Never repeats a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

PREFIX = "CONVOMETER_"
DELIMITER = "__"
SECRET_KEYS: frozenset[str] = frozenset({"app_secrets", "events_tokens", "verify_token", "secrets", "url"})
# Addresses can hold a password. One that is written without quotes is a number to TOML, and a fault.
_UNPRINTED_KEYS = SECRET_KEYS | {"broker", "clickhouse", "password", "webhooks"}
# Not settings: where the file is, and the size of the test runs.
_OTHER_VARIABLES = ("config", "test_")

Location = tuple[int | str, ...]


class SettingsError(Exception):
    """The settings cannot be used. ``faults`` lists everything that is wrong, one sentence each."""

    def __init__(self, faults: Sequence[str], config_file: str = "") -> None:
        """Take the faults; ``config_file`` names the file that was read, if any."""
        self.faults = list(faults)
        count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
        where = f" ({config_file} and the environment)" if config_file else ""
        super().__init__("\n  - ".join([f"{count} in the settings{where}:", *self.faults]))


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one sentence per validation error of ``model``, in the order of the keys."""
    return [
        _sentence(detail, model)
        for detail in error.errors(include_url=False)
        # A default that depends on a faulty key: the faulty key has its own sentence.
        if detail["type"] != "default_factory_not_called"
    ]


def unknown_variables(model: type[BaseModel], environment: Mapping[str, str]) -> list[str]:
    """Return a fault for each ``CONVOMETER_`` variable that belongs to no setting.

    Nested unknown keys are found by validation; the environment source passes over unknown first words.
    """
    faults = []
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX):
            continue
        word = name[len(PREFIX) :].lower().split(DELIMITER)[0]
        if word not in model.model_fields and not word.startswith(_OTHER_VARIABLES):
            hint = _did_you_mean(word, (), model)
            faults.append(f"{name}: found a variable that is no setting, expected {hint}")
    return faults


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = detail["loc"]
    label = _label(location)
    if detail["type"] == "extra_forbidden":
        hint = _did_you_mean(str(location[-1]), location[:-1], model)
        return f"{label}: found an unknown key, expected {hint}"
    if detail["type"] == "missing":
        return f"{label}: found nothing, expected a value"
    return f"{label}: found {_found(location, detail['input'])}, expected {_expected(detail)}"


def _label(location: Location) -> str:
    variable = PREFIX + DELIMITER.join(str(part) for part in location).upper()
    if variable in os.environ:
        return variable
    return ".".join(str(part) for part in location) or "settings"


def _found(location: Location, value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if _UNPRINTED_KEYS.intersection(location) or isinstance(value, BaseModel):
        return "a value that is not shown"
    if isinstance(value, str) and (value.lstrip()[:1] in ("{", "[") or len(value) > 80):
        return "a text"
    return repr(value)


def _expected(detail: ErrorDetails) -> str:
    if detail["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return "a table"
    is_secret = SECRET_KEYS.intersection(detail["loc"]) and not isinstance(detail["input"], list | tuple)
    if detail["type"] == "too_short" and is_secret:
        return f"at least {detail['ctx']['min_length']} characters"
    if detail["type"].startswith(("greater_than", "less_than")):
        return "a number " + detail["msg"].removeprefix("Input should be ")
    message = detail["msg"].removeprefix("Value error, ")
    for start in ("Input should be ", "Value should have ", "String should have "):
        message = message.removeprefix(start)
    return message.split(" after validation")[0]


def _did_you_mean(word: str, location: Location, model: type[BaseModel]) -> str:
    names = list(_table_at(location, model).model_fields)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"a known one; did you mean {'.'.join(map(str, (*location, close[0])))}?"
    elsewhere = [name for name in _all_keys(model) if name.split(".")[-1] == word]
    if elsewhere:
        return f"a known one; did you mean {elsewhere[0]}?"
    return f"one of {', '.join(names)}"


def _table_at(location: Location, model: type[BaseModel]) -> type[BaseModel]:
    """Return the model that describes the table at a location; parts that are keys of a map are passed over."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = next(_models_in(field.annotation), None)
        yield prefix + name
        # A model inside a map or list has keys of its own making in front of it: no single name to point at.
        if inner is not None and isinstance(field.annotation, type):
            yield from _all_keys(inner, f"{prefix}{name}.")


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
