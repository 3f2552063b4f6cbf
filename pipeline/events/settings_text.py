"""YAML that operators write, read strictly: a key given twice or misspelt is an error, not a guess."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import yaml

from pipeline.errors import SettingError

S = TypeVar("S")


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which no mapping has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(setting: str, text: str) -> Any:
    """Parse YAML text; only plain data comes out of it.

    Raises:
        SettingError: It is not YAML, or has a key twice; says where.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, TypeError) as error:
        raise SettingError(f"read the setting {setting}", " ".join(str(error).split())) from error


def convert(setting: str, value: Any, kind: type[S]) -> S:
    """Turn plain data into a struct that forbids unknown fields.

    Raises:
        SettingError: It does not fit; says which part.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SettingError(f"read the setting {setting}", str(error)) from error


def config_text(setting: str, config: dict[str, Any]) -> dict[str, str]:
    """Turn the scalars of a topic configuration into the texts Kafka takes.

    Raises:
        SettingError: A value is not a number, a text or a truth value.
    """
    texts = {}
    for name, value in config.items():
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, int | float | str):
            texts[name] = str(value)
        else:
            raise SettingError(
                f"read the setting {setting}", f"{name} is {value!r}", "give a number or a text"
            )
    return texts
