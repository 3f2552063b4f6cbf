"""The features of an event as its document holds them. Contract: metastore section 3.4, step 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog

from pipeline import limits
from pipeline.events.parts import Feature
from pipeline.index.document_parts import given, invalid, md5
from pipeline.index.enrichment import enrich
from pipeline.index.schema import feature_field
from pipeline.index.values import WHOLE

log = structlog.get_logger(__name__)

FILENAME: Final = "filename"
"""The feature that is also a field of its own."""
_LONG_MAX: Final = WHOLE["long"][1]


def feature_fields(features: Sequence[Feature], sha256: str, key: str) -> dict[str, Any]:
    """Return the fields made from an event's features; none when it has none.

    Args:
        features: What the event says.
        sha256: The binary, for messages.
        key: The document's ``sha256_author_action``.

    Raises:
        EventInvalid: There are too many, or one lies beyond any file.
    """
    if not features:
        return {}
    if len(features) > limits.FEATURES_PER_EVENT:
        raise invalid(f"an event about {sha256}", f"more than {limits.FEATURES_PER_EVENT} features")
    pairs = sorted({(feature.name, feature.value) for feature in features})
    fields = {
        "features": _encoded(features, sha256),
        "features_map": _map(features),
        "num_feature_names": len({name for name, _ in pairs}),
        "num_feature_values": len(pairs),
        "uniq_features": f"{key}.{md5('.'.join(f'{name}.{value}' for name, value in pairs))}",
    }
    filenames = list(dict.fromkeys(each.value for each in features if each.name == FILENAME))
    return {**fields, FILENAME: filenames} if filenames else fields


def _encoded(features: Sequence[Feature], sha256: str) -> list[dict[str, Any]]:
    encoded = []
    plain: list[str] = []
    for feature in features:
        fields = {**given(feature), "encoded": _location(feature, sha256)}
        try:
            fields["enriched"] = enrich(feature.type, feature.value)
        except (ValueError, OverflowError):  # not of its type: kept as it is
            plain.append(feature.name)
        encoded.append(fields)
    if plain:
        log.info("features kept without their parts", sha256=sha256, count=len(plain), first=plain[0])
    return encoded


def _location(feature: Feature, sha256: str) -> dict[str, Any]:
    if feature.offset + feature.size > _LONG_MAX:
        raise invalid(f"an event about {sha256}", f"feature {feature.name!r} lies beyond any file")
    if not feature.offset and not feature.size:
        return {}
    return {"location": {"gte": feature.offset, "lte": feature.offset + feature.size}}


def _map(features: Sequence[Feature]) -> dict[str, list[str]]:
    fields: dict[str, dict[str, None]] = {}
    for feature in features:
        name = feature_field(feature.name)
        if name is not None:
            fields.setdefault(name, {})[feature.value] = None
    return {name: list(found) for name, found in fields.items()}
