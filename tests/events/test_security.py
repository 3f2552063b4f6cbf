"""Security markings and who may read what (sections 12 of the metastore and dispatcher contracts)."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import limits
from pipeline.errors import BadInput, SettingError
from pipeline.events.security import Security
from pipeline.events.security_labels import labels_of, role
from pipeline.settings import load

EXAMPLE: dict[str, Any] = {
    "classification": {
        "options": [
            {"name": "low", "priority": "10"},
            {"name": "LOW: LY", "priority": 20},
            {"name": "MEDIUM", "priority": 30},
            {"name": "HIGH", "priority": 40},
            {"name": "TOP HIGH", "priority": 50},
        ]
    },
    "caveat": {
        "options": [
            {"name": "MOD1"},
            {"name": "MOD2"},
            {"name": "HANOVERLAP"},
            {"name": "OVER"},
            {"name": "RESTRICTED", "min_priority": 30, "max_priority": 40},
        ]
    },
    "releasability": {
        "options": [{"name": "REL:APPLE"}, {"name": "REL:BEE"}, {"name": "REL:CAR"}],
        "origin": "REL:APPLE",
        "origin_alt_name": "APPLEO",
    },
    "tlp": {
        "options": [
            {"name": "TLP:CLEAR"},
            {"name": "TLP:GREEN"},
            {"name": "TLP:AMBER"},
            {"name": "TLP:AMBER+STRICT", "enforce_security": True},
        ]
    },
}
SECURITY = Security(labels_of(EXAMPLE), releasable_from=30)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("low tlp:green", "LOW TLP:GREEN"),
        ("MEDIUM//REL:APPLE,BEE", "MEDIUM REL:APPLE,BEE"),
        ("HIGH MOD1 REL:APPLE TLP:GREEN", "HIGH MOD1 REL:APPLE"),
        ("LOW MEDIUM", "MEDIUM"),
        (" top\\high\tMOD2 / mod1 ", "TOP HIGH MOD1 MOD2"),
        ("LOW: LY", "LOW: LY"),
        ("LOW OVER HANOVERLAP", "LOW HANOVERLAP OVER"),
        ("LOW RESTRICTED", "LOW"),
        ("HIGH RESTRICTED", "HIGH RESTRICTED"),
        ("TOP HIGH RESTRICTED", "TOP HIGH"),
        ("MEDIUM REL:CAR REL:BEE,APPLEO", "MEDIUM REL:APPLE,BEE,CAR"),
        ("LOW TLP:AMBER+STRICT TLP:GREEN", "LOW TLP:AMBER+STRICT"),
    ],
)
def test_a_marking_has_one_form(text: str, normal: str) -> None:
    assert SECURITY.normalise(text) == normal
    assert SECURITY.normalise(normal) == normal


def test_a_label_is_never_taken_for_a_shorter_one() -> None:
    longer = {"options": [{"name": "LOW"}, {"name": "LOW MOD1"}]}
    security = Security(labels_of({**EXAMPLE, "classification": longer}), releasable_from=30)
    assert security.parse("LOW MOD1 MOD1").exclusive == {"LOW MOD1", "MOD1"}


@pytest.mark.parametrize(
    "text",
    [
        *("LOW REL:APPLE", "MEDIUM REL:BEE", "REL:APPLE", "foo", "", "MOD1", "LOW foo", "HIGHLOW"),
        *("MEDIUM REL:", "MEDIUM REL:APPLE,", "MEDIUM REL:APPLE, BEE", "MEDIUM REL:DOG", "MEDIUM APPLEO"),
        "LOW" + " LOW" * limits.SECURITY_MAX_CHARACTERS,
    ],
)
def test_what_is_no_marking_is_never_given_a_form(text: str) -> None:
    with pytest.raises(BadInput):
        SECURITY.normalise(text)


@pytest.mark.parametrize(
    ("texts", "combined"),
    [
        (["LOW TLP:GREEN", "MEDIUM REL:APPLE,BEE"], "MEDIUM REL:APPLE,BEE"),
        (["MEDIUM REL:APPLE,BEE", "HIGH REL:APPLE"], "HIGH REL:APPLE"),
        (["LOW TLP:GREEN", "LOW TLP:AMBER MOD1", "low mod2"], "LOW MOD1 MOD2 TLP:AMBER"),
        (["HIGH"], "HIGH"),
    ],
)
def test_what_is_combined_is_as_restricted_as_all_its_parts(texts: list[str], combined: str) -> None:
    assert SECURITY.combine(texts) == SECURITY.combine(texts[::-1]) == combined


@pytest.mark.parametrize("texts", [[], ["HIGH", "foo"], ["HIGH REL:APPLE", "HIGH REL:BEE"]])
def test_what_nobody_could_read_is_never_combined(texts: list[str]) -> None:
    with pytest.raises(BadInput):
        SECURITY.combine(texts)


def test_labels_are_ranked_by_kind_and_place() -> None:
    labels = ["TLP:CLEAR", "REL:BEE", "MOD1", "TOP HIGH", "REL:APPLE", "LOW"]
    assert SECURITY.ranked(labels) == ["LOW", "TOP HIGH", "MOD1", "REL:APPLE", "REL:BEE", "TLP:CLEAR"]


@pytest.mark.parametrize(
    ("subject", "may", "may_not"),
    [
        (
            "MEDIUM MOD1 REL:APPLE",
            ["LOW", "LOW: LY", "LOW MOD1", "MEDIUM", "MEDIUM REL:APPLE,BEE", "LOW TLP:AMBER"],
            ["HIGH", "TOP HIGH", "HIGH REL:APPLE", "LOW MOD2", "LOW TLP:AMBER+STRICT"],
        ),
        (
            "MEDIUM",
            ["medium", "LOW"],
            ["HIGH MOD1", "LOW MOD1", "MEDIUM REL:APPLE", "MEDIUM REL:APPLE,BEE"],
        ),
        ("MEDIUM REL:BEE", ["MEDIUM REL:APPLE,BEE"], ["MEDIUM REL:APPLE", "MEDIUM REL:BEE"]),
        ("HIGH TLP:AMBER+STRICT", ["LOW TLP:AMBER+STRICT"], ["TOP HIGH"]),
    ],
)
def test_who_holds_a_marking_reads_that_much(subject: str, may: list[str], may_not: list[str]) -> None:
    assert [thing for thing in may if not SECURITY.can_access(subject, thing)] == []
    assert [thing for thing in may_not if SECURITY.can_access(subject, thing)] == []


@pytest.mark.parametrize("bad", ["Random", "", "LOW Random", "LOW" * limits.SECURITY_MAX_CHARACTERS])
def test_nothing_is_readable_that_cannot_be_compared(bad: str) -> None:
    assert not SECURITY.can_access("MEDIUM", bad)
    assert not SECURITY.can_access(bad, "LOW")
    assert not SECURITY.can_access(bad, bad)


def test_without_labels_no_marking_is_readable() -> None:
    shipped = load(environment={"XDG_CONFIG_HOME": "/nonexistent"}).settings.security
    unlabelled = Security(
        labels_of(shipped.labels.model_dump()), releasable_from=shipped.allow_releasability_priority_gte
    )
    assert not unlabelled.can_access("LOW", "LOW")
    with pytest.raises(BadInput):
        unlabelled.normalise("LOW")


WRITTEN = [
    " ".join(filter(None, parts))
    for parts in product(
        ("LOW", "MEDIUM", "HIGH"),
        ("", "MOD1"),
        ("", "REL:APPLE", "REL:APPLE,BEE"),
        ("", "TLP:AMBER", "TLP:AMBER+STRICT"),
    )
    if not (parts[0] == "LOW" and parts[2]) and not (parts[0] != "LOW" and parts[3])
]


@given(st.sampled_from(WRITTEN), st.sampled_from(WRITTEN), st.sampled_from(WRITTEN))
def test_who_reads_what_is_combined_reads_each_of_its_parts(subject: str, one: str, other: str) -> None:
    whole = SECURITY.combine([one, other])
    if SECURITY.can_access(subject, whole):
        # A TLP is lost to a higher classification, which is all there is to lose.
        for part in (one, other):
            assert SECURITY.can_access(subject, part) or "TLP:AMBER+STRICT" in part


def test_documents_carry_the_roles_of_their_labels() -> None:
    assert SECURITY.encode("HIGH MOD1 REL:APPLE,BEE") == {
        "exclusive": ["s-high", "s-mod1"],
        "inclusive": ["s-rel-apple", "s-rel-bee"],
        "markings": ["s-any"],
        "num_exclusive": 2,
    }
    assert SECURITY.encode("LOW: LY TLP:AMBER+STRICT") == {
        "exclusive": ["s-low--ly"],
        "inclusive": ["s-any"],
        "markings": ["s-tlp-amber-strict"],
        "num_exclusive": 1,
    }
    assert (role("LOW: LY"), role("TLP:AMBER+STRICT")) == ("s-low--ly", "s-tlp-amber-strict")
    assert SECURITY.enforced(["TLP:AMBER", "TLP:AMBER+STRICT"]) == {"TLP:AMBER+STRICT"}


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"caveat": {"options": [{"name": "LOW"}]}}, "'LOW'.*twice"),
        ({"caveat": {"options": [{"name": "TLP-AMBER"}]}}, "s-tlp-amber"),
        ({"caveat": {"options": [{"name": "A/B"}]}}, "A/B"),
        ({"caveat": {"options": [{"name": ""}]}}, "''"),
        ({"caveat": {"options": [{"title": "MOD1"}]}}, "name"),
        ({"releasability": {"options": [{"name": "APPLE"}]}}, "APPLE"),
        ({"releasability": {"options": [{"name": "REL:A,B"}]}}, "REL:A,B"),
        ({"releasability": {"options": [], "origin": "REL:APPLE"}}, "REL:APPLE"),
        ({"classification": {"options": [{"name": "LOW", "priority": "ten"}]}}, "priority"),
    ],
)
def test_labels_that_contradict_each_other_are_refused(labels: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        labels_of({**EXAMPLE, **labels})


def test_wrong_labels_are_refused_at_start_by_the_name_of_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text('[security.labels.caveat]\noptions = [{ name = "X" }, { name = "x" }]\n')
    with pytest.raises(SettingError, match=r"setting security\.labels.*twice"):
        load(file=file, environment={})
