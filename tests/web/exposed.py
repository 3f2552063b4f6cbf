"""What a scraper sees on ``GET /metrics``, read from the text alone (Prometheus text format 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.web.site import Site

_SAMPLE = re.compile(r"(?P<name>\w+)(?:{(?P<labels>.*)})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PARTS = re.compile(r"_(?:bucket|sum|count)$")

Series = tuple[str, frozenset[tuple[str, str]]]


def series(sample: str, **labels: str) -> Series:
    """Name one sample."""
    return sample, frozenset(labels.items())


@dataclass
class Exposed:
    """One scrape."""

    types: dict[str, str] = field(default_factory=dict)
    values: dict[Series, float] = field(default_factory=dict)

    def labels(self, name: str) -> set[frozenset[str]]:
        """Return the sets of label names a metric's samples have, without the bounds of buckets."""
        return {
            frozenset(label for label, _ in labels) - {"le"}
            for sample, labels in self.values
            if self.metric_of(sample) == name
        }

    def bounds(self, name: str) -> list[float]:
        """Return the bounds of a histogram's buckets."""
        found = {
            float(value)
            for sample, labels in self.values
            for label, value in labels
            if (sample, label) == (f"{name}_bucket", "le")
        }
        return sorted(found)

    def since(self, before: Exposed) -> Mapping[Series, float]:
        """Return what has changed, by how much; sums of seconds are left out."""
        changed = {
            sample: value - before.values.get(sample, 0.0)
            for sample, value in self.values.items()
            if not sample[0].endswith(("_sum", "_bucket")) and value != before.values.get(sample, 0.0)
        }
        return {sample: change for sample, change in changed.items() if sample[0].startswith("dispatcher_")}

    def metric_of(self, sample: str) -> str:
        """Return the metric a sample belongs to."""
        whole = _PARTS.sub("", sample)
        return whole if self.types.get(whole) == "histogram" else sample


async def scrape(site: Site) -> Exposed:
    """Read the metrics of a site; no metric may be declared twice, no sample come twice."""
    async with site.client.get(f"{site.url}/metrics") as response:
        text = await response.text()
        assert response.status == 200, text
    exposed = Exposed()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in exposed.types, line
            exposed.types[name] = kind
        elif not line.startswith("#"):
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            one = series(sample["name"], **dict(_LABEL.findall(sample["labels"] or "")))
            assert one not in exposed.values, line
            assert exposed.metric_of(sample["name"]) in exposed.types, line
            exposed.values[one] = float(sample["value"])
    return exposed
