"""Documents of status, download and plugin events: metastore contract, sections 3.5 and 23.3."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.errors import EventInvalid
from pipeline.events.models import DownloadEvent, InsertEvent, PluginEvent, StatusEvent
from pipeline.index.documents import documents_of
from tests.index.events import LABEL, UNZIP, A, B


def test_the_worked_example_of_a_status() -> None:
    status = msgspec.convert(
        {
            "model_version": 6,
            "kafka_key": "k1",
            "timestamp": "2024-03-14T09:00:06+00:00",
            "author": UNZIP,
            "entity": {
                "status": "completed",
                "runtime": 0.4,
                "input": {"entity": {"sha256": B.upper()}, "source": {"security": LABEL}, "dequeued": "x"},
            },
        },
        StatusEvent,
    )
    (document,) = documents_of(status, sources={}, default_security="")
    assert (document.family, document.id, document.version) == ("status", "k1", 1710406806000000)
    assert {**document.body, "encoded_security": {}} == {
        "model_version": 6,
        "timestamp": "2024-03-14T09:00:06Z",
        "author": UNZIP,
        "entity": {"status": "completed", "runtime": 0.4, "input": {"entity": {"sha256": B}}},
        "encoded": {"author": "unzip.plugin.7"},
        "security": LABEL,
        "encoded_security": {},
    }


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("requested", "download-requested"),
        ("success", "completed"),
        ("failed", "error-exception"),
        ("failed-not-found", "opt-out"),
        ("skipped-already-present", "opt-out"),
    ],
)
def test_downloads_are_statuses(action: str, status: str) -> None:
    download = msgspec.convert(
        {
            "kafka_key": "k",
            "timestamp": "2024-03-14T09:00:06Z",
            "author": UNZIP,
            "action": action,
            "source": {"name": "testing"},
            "entity": {"hash": A},
        },
        DownloadEvent,
    )
    (document,) = documents_of(download, sources={}, default_security=LABEL)
    entity = document.body["entity"]
    assert (entity["status"], entity["error"], entity["runtime"]) == (status, "", 0.0)
    assert entity["message"]
    assert entity["input"] == {"entity": {"sha256": A}}


def test_an_unknown_download_action_is_refused() -> None:
    with pytest.raises(EventInvalid, match="no action"):
        documents_of(DownloadEvent(kafka_key="k", action="begged"), sources={}, default_security="")


def plugin(config: dict[str, str]) -> PluginEvent:
    """Make a registration with this configuration."""
    return msgspec.convert(
        {
            "kafka_key": "k",
            "timestamp": "2024-03-01T00:00:00Z",
            "author": {"category": "plugin", "name": "unzip", "version": "7"},
            "entity": {
                "category": "plugin",
                "name": "unzip",
                "version": "7",
                "description": "opens archives",
                "features": [{"name": "filename", "type": "filepath", "desc": "member name"}],
                "config": config,
            },
        },
        PluginEvent,
    )


def test_the_worked_example_of_a_plugin() -> None:
    config = {"filter_max_content_size": "104857600", "is_processing_download_events": "true", "a.b": "[]"}
    (document,) = documents_of(plugin(config), sources={}, default_security="")
    assert (document.family, document.id) == ("plugin", "k")
    assert document.body["entity"] == {
        "category": "plugin",
        "name": "unzip",
        "version": "7",
        "description": "opens archives",
        "features": [{"name": "filename", "type": "filepath", "desc": "member name"}],
        "config": {
            "filter_max_content_size": "104857600",
            "is_processing_download_events": "true",
            "a_b": "[]",
        },
    }


@pytest.mark.parametrize(
    "config", [{"x": "not json"}, {"is_processing_download_events": '"yes"'}, {"x": ""}]
)
def test_a_plugin_with_a_configuration_that_is_not_json_is_refused(config: dict[str, str]) -> None:
    with pytest.raises(EventInvalid, match="setting"):
        documents_of(plugin(config), sources={}, default_security="")


@pytest.mark.parametrize("keyless", [StatusEvent(), PluginEvent(), DownloadEvent(action="success")])
def test_events_without_a_key_are_refused(keyless: StatusEvent | PluginEvent | DownloadEvent) -> None:
    with pytest.raises(EventInvalid, match="no key"):
        documents_of(keyless, sources={}, default_security="")


def test_other_models_have_no_documents() -> None:
    assert documents_of(InsertEvent(), sources={}, default_security="") == []
