"""A job: one file in the hands of a plugin's function, and what the function says about it.

Everything here works on local files, so that it is the same for plain and ``async`` functions. What is said
is published when the function has returned; of a function that fails nothing is. When the time of a job is
over, every call raises `JobOver`, which ends functions that were given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from headrace.features import Features, checked_text
from headrace.plugin import Plugin
from pipeline import limits
from pipeline.errors import BadInput, HeadraceError, NotFound, TooLarge
from pipeline.events.binary import BinaryEvent
from pipeline.events.names import CONTENT, LABELS


class OptOut(Exception):
    """The function has nothing to say about this file, and says why."""


class JobOver(HeadraceError):
    """The time of this job is over; nothing is taken any more."""


class Derived:
    """Bytes the function made: a file, and the label and language they are stored under."""

    def __init__(self, path: Path, label: str, language: str) -> None:
        self.path = path
        self.label = label
        self.language = language


class Child(Derived):
    """A file found inside the job's file, on its way to become an event of its own."""

    def __init__(
        self, job: Job, path: Path, relationship: dict[str, str], filename: str, language: str
    ) -> None:
        super().__init__(path, CONTENT, language)
        self.relationship = relationship
        self.filename = filename
        self.features = Features(job.plugin.features)
        self._job = job

    def feature(self, name: str, value: Any, *, label: str = "", offset: int = 0, size: int = 0) -> None:
        """Say one thing about the child. Raises as `Job.feature`."""
        self._job.check_open()
        self.features.add(name, value, label=label, offset=offset, size=size)


class Job:
    """One file, and what is said about it.

    Attributes:
        event: The event the job is about, as the hub handed it out.
        folder: A folder of this job's own for temporary files; gone when the job has ended.
    """

    def __init__(self, plugin: Plugin, event: BinaryEvent, folder: Path, files: Mapping[str, Path]) -> None:
        self.plugin = plugin
        self.event = event
        self.folder = folder
        self.features = Features(plugin.features)
        self.information: dict[str, Any] = {}
        self.children: list[Child] = []
        self.streams: list[Derived] = []
        self.problems: list[str] = []
        self._files = files
        self._open = True

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return self.event.entity.sha256

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self.event.entity.size

    @property
    def file_format(self) -> str:
        """The format of the file, empty when nobody has told it yet."""
        streams = self.event.entity.datastreams
        found = (stream.file_format for stream in streams if stream.label == CONTENT)
        return next(found, "") or self.event.entity.file_format

    @property
    def filename(self) -> str:
        """The name the file was handed in or found under, empty when there is none."""
        return self.event.source.path[-1].filename

    def path(self, label: str = CONTENT) -> Path:
        """Give a stream as a local file; it is gone when the job has ended.

        Raises:
            BadInput: The plugin does not read this stream. NotFound: This file has none.
        """
        self.check_open()
        tried = f"give stream {label!r} of {self.sha256}"
        if label not in self.plugin.streams:
            raise BadInput(tried, "the plugin does not read it", "name it in Plugin(streams=…)")
        if label not in self._files:
            raise NotFound(tried, "the event names none")
        return self._files[label]

    def open(self, label: str = CONTENT) -> BinaryIO:
        """Open a stream for reading. Raises as `path`."""
        return self.path(label).open("rb")

    def content(self, label: str = CONTENT) -> bytes:
        """Give the whole of a stream in memory; for large files use `path` or `open`. Raises as `path`."""
        return self.path(label).read_bytes()

    def feature(self, name: str, value: Any, *, label: str = "", offset: int = 0, size: int = 0) -> None:
        """Say one thing about the file, any number of times.

        Args:
            name: A feature the plugin declares.
            value: A value of its type: int, float, str, bytes, an aware datetime, a path.
            label: What kind of it, where there are several.
            offset: Where in the file it is.
            size: How long it is there.

        Raises:
            BadInput: The name is not declared, or the value is not of its type.
            TooLarge: There are more than `limits.FEATURES_PER_EVENT`.
        """
        self.check_open()
        self.features.add(name, value, label=label, offset=offset, size=size)

    def info(self, values: Mapping[str, Any]) -> None:
        """Say what fits no feature, as JSON; later values replace earlier ones of the same name.

        Raises:
            BadInput: It cannot be written as JSON.
        """
        self.check_open()
        try:
            msgspec.json.encode(values)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput("keep info", str(error), "use what JSON has") from error
        self.information |= values

    def child(
        self,
        data: bytes | Path,
        *,
        relationship: Mapping[str, str] | None = None,
        filename: str = "",
        language: str = "",
    ) -> Child:
        """Say that the file contains another one, which goes through the pipeline in its turn.

        Args:
            data: Its bytes, or a file that stays as it is until the job has ended.
            relationship: How it is related: names and texts.
            filename: Its name.
            language: The language it is written in.

        Raises:
            BadInput: It is empty, or a text is none.
            TooLarge: There are `limits.PLUGIN_CHILDREN_MAX` already.
        """
        path = self._kept(data)
        texts = dict(relationship or {})
        for text in (*texts, *texts.values(), filename):
            checked_text(f"keep a child of {self.sha256}", text)
        child = Child(self, path, texts, filename, language)
        self.children.append(child)
        return child

    def stream(self, label: str, data: bytes | Path, *, language: str = "") -> None:
        """Keep bytes derived from the file under a label of the contract, such as ``text`` or ``report``.

        Raises:
            BadInput: It is empty, or there is no such label. TooLarge: There are too many.
        """
        if label not in LABELS - {CONTENT}:
            known = ", ".join(sorted(LABELS - {CONTENT}))
            raise BadInput(f"keep stream {label!r}", "there is no such label", f"the labels are {known}")
        self.streams.append(Derived(self._kept(data), label, language))

    def problem(self, text: str) -> None:
        """Say that something did not work while the rest did; the job ends as `completed-with-errors`."""
        self.check_open()
        self.problems.append(text)

    def opt_out(self, reason: str) -> NoReturn:
        """End the function here: it has nothing to say about this file. What it said so far is dropped.

        Raises:
            OptOut: Always.
        """
        raise OptOut(reason)

    def check_open(self) -> None:
        """Return while the job has time. Long loops may call it now and then.

        Raises:
            JobOver: The time is over.
        """
        if not self._open:
            raise JobOver(f"go on with {self.sha256}", "", "return")

    def close(self) -> None:
        """Take nothing any more. Called when the function has ended or was given up."""
        self._open = False

    def _kept(self, data: bytes | Path) -> Path:
        self.check_open()
        number = len(self.children) + len(self.streams)
        tried = f"keep bytes found in {self.sha256}"
        if number >= limits.PLUGIN_CHILDREN_MAX:
            raise TooLarge(tried, f"there are {number} already", "keep fewer")
        if isinstance(data, Path):
            path = data
        else:
            path = self.folder / f".kept-{number}"
            path.write_bytes(data)
        if not path.stat().st_size:
            raise BadInput(tried, "there are none", "leave out what is empty")
        return path
