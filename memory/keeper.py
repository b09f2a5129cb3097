"""Keeps one index open: its store, the view that readers share, and the rules of who may write it when.

Readers never need the lock. A writer that finds it taken leaves the writing to the other, and reads the last complete
generation; only when there is none yet does it wait.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from typing import TypeVar

from selfroute.errors import (
    ConfigError,
    CorpusError,
    IndexCorruptError,
    IndexLockedError,
    IndexMissingError,
    IndexVersionError,
    SelfRouteError,
)
from selfroute.memory import arrays, location
from selfroute.memory.base import Progress, Skipped
from selfroute.memory.database import DATABASE, remove
from selfroute.memory.lock import WriterLock
from selfroute.memory.provenance import CODE_FINGERPRINT
from selfroute.memory.store import FORMAT, State, Store
from selfroute.memory.update import Written, bring_up_to_date, compare
from selfroute.memory.view import View, load_view
from selfroute.memory.walk import Walk, walk
from selfroute.models.base import Embedder

_POLL_SECONDS = 0.05
_TRIES = 5

T = TypeVar("T")


class Keeper:
    """What an Index stands on. walked: the folder at the last update by this object; checked_at: when that was."""

    def __init__(
        self, root: Path, directory: Path, embedder: Embedder, *, max_file_bytes: int, wait_seconds: float
    ) -> None:
        self.root, self.directory, self.embedder = root, directory, embedder
        self.walked: Walk | None = None
        self.checked_at = 0.0
        self.notes: list[str] = []
        self.max_file_bytes, self._wait_seconds = max_file_bytes, wait_seconds
        named = "" if directory == location.locate(root) else f" --index-dir {shlex.quote(str(directory))}"
        self._make = f"selfroute index --path {shlex.quote(str(root))}{named}"
        self._mend = f"{self._make} --rebuild"
        self._may_write = False
        self._writing = RLock()  # held by the thread that updates
        self._swapping = RLock()  # held while the store or the view is exchanged
        self._store: Store | None = None
        self._view: View | None = None
        self._version = -1  # of the store when the view was read

    def open_as_it_is(self) -> None:
        """Opens what is there, whatever the folder holds now; it is never written.

        Raises IndexMissingError when there is none that this version and embedder can use, IndexCorruptError.
        """
        if not (self.directory / DATABASE).exists():
            raise self._missing()
        self._store = Store(self.directory, mend=self._mend)
        state = self._store.state()
        if state is not None and (unfit := self._unfit(state)):
            raise IndexMissingError(f"the index in {self.directory} {unfit}", self._make)
        self.current()

    def update(self, progress: Progress | None = None, *, rebuild: bool = False) -> Written:
        """Brings the index up to date with the folder, where that is for this process to do; see Index.update."""
        with self._writing:
            self._may_write = True
            self.notes.clear()
            walked = walk(self.root, max_bytes=self.max_file_bytes, progress=progress)
            checked_at = time.time()
            in_step = False
            if not rebuild:
                try:
                    in_step = self._in_step(walked)
                except IndexCorruptError as error:
                    rebuild = True
                    self._note_damage(error)
            written = Written() if in_step else self._write(walked, progress, rebuild=rebuild)
            self.walked, self.checked_at = walked, checked_at
            return written

    def reading(self, answer: Callable[[View], T | None]) -> T:
        """What `answer` makes of the generation in force; asked again when rows were gone, or damage was mended."""
        for _ in range(_TRIES):
            view = self._view
            try:
                view = self.current()
                found = answer(view)
            except IndexCorruptError as error:
                self._mended(error, view)
                continue
            except SelfRouteError:
                if self._view is view:
                    raise
                continue  # the store was exchanged by another thread
            if found is not None:
                return found
            with self._swapping:
                self._version = -1
        raise IndexLockedError(f"the index in {self.directory} changes faster than it can be read", "try again")

    def store(self) -> Store:
        """The database. Raises IndexMissingError when there is none."""
        if self._store is None:
            raise self._missing()
        return self._store

    def current(self) -> View:
        """The generation in force, read anew when another process has completed one."""
        with self._swapping:
            self._load()
            if self._view is None:
                raise self._missing()
            return self._view

    def _load(self) -> None:
        """Reads the generation in force; self._view stays None without one that this version and embedder can use."""
        with self._swapping:
            opened = self.store()
            version = opened.version()
            if self._view is not None and version == self._version:
                return
            state = opened.state()
            if state is None or self._unfit(state):
                self._view = None
                return
            self._view, damaged = load_view(opened, self.directory, self.embedder.dim, self._view)
            self._version = version
            if damaged:
                self._note("the stored arrays were damaged or missing and were made again from the database")

    def close(self) -> None:
        """Closes the database; what needs it afterwards raises SelfRouteError."""
        with self._swapping:
            if self._store is not None:
                self._store.close()

    def _missing(self) -> IndexMissingError:
        return IndexMissingError(f"there is no index of {self.root}", self._make)

    def _unfit(self, state: State) -> str:
        """Why an index cannot be used as it is, or "". Raises IndexVersionError for one that is not ours to replace."""
        if state.format > FORMAT:
            raise IndexVersionError(self.directory, state.format, FORMAT, self._mend)
        if state.format != FORMAT:
            return f"is of format {state.format}, this version uses {FORMAT}"
        if state.embedder != self.embedder.fingerprint:
            return f"was made with the embedder {state.embedder}, not {self.embedder.fingerprint}"
        if state.code != CODE_FINGERPRINT:
            return "was made by another version of selfroute"
        return ""

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _in_step(self, walked: Walk) -> bool:
        """Whether there is nothing to write; the generation in force is then, or otherwise if there is one, at hand."""
        with self._swapping:
            if not (self.directory / DATABASE).exists():
                return False
            self._reopen(create=False)
            self._load()
        if self._view is None:
            return False
        changes = compare(walked.files, self._view.files, trust_times=self._view.state.root == str(self.root))
        return not (changes.todo or changes.gone or self._view.n_behind)

    def _write(self, walked: Walk, progress: Progress | None, *, rebuild: bool) -> Written:
        """Takes the lock and brings the store up to date; what is there stays when that cannot be done now."""
        if self._view is None and not walked.files:
            raise nothing_to_index(self.root, walked.skipped)
        try:
            location.prepare(self.directory)
        except ConfigError:
            if self._view is None or rebuild:
                raise
            self._note(f"{self.directory} cannot be written: reading the state of {_when(self._view)}")
            return Written()
        lock = WriterLock(self.directory / "lock")
        if not self._acquired(lock, rebuild):
            return Written()
        try:
            try:
                return self._write_locked(walked, progress, rebuild=rebuild)
            except IndexCorruptError as error:
                if rebuild:
                    raise
                self._note_damage(error)
                return self._write_locked(walked, progress, rebuild=True)
        finally:
            lock.release()

    def _acquired(self, lock: WriterLock, rebuild: bool) -> bool:
        """Takes the lock. False, with a note, when another process has it and there is a complete state to read."""
        deadline = time.monotonic() + self._wait_seconds
        while not lock.acquire():
            if not rebuild and self._complete():
                assert self._view is not None
                self._note(f"{lock.holder()} is indexing: reading the state of {_when(self._view)}")
                return False
            if time.monotonic() > deadline:
                raise IndexLockedError(
                    f"{lock.holder()} is writing the index in {self.directory}"
                    f" and was not done in {self._wait_seconds:g} s",
                    "wait for it, or end it: an index that was interrupted is continued",
                )
            time.sleep(_POLL_SECONDS)
        return True

    def _complete(self) -> bool:
        """Whether there is a generation to read, which is then at hand."""
        try:
            with self._swapping:
                if (self.directory / DATABASE).exists():
                    self._reopen(create=False)
                    self._load()
        except SelfRouteError:  # the writer is just making or mending it
            self._view = None
        return self._view is not None

    def _write_locked(self, walked: Walk, progress: Progress | None, *, rebuild: bool) -> Written:
        with self._swapping:
            if rebuild:
                self._discard()
            state = self._state_to_write()
            self._load()
            opened, held = self.store(), self._view
        view, written = bring_up_to_date(
            opened, state, held, walked, self.embedder, root=self.root, directory=self.directory, progress=progress
        )
        with self._swapping:
            self._view, self._version = view, opened.version()
        return written

    def _state_to_write(self) -> State:
        """The state of the store, opened; made anew when this version or embedder cannot use it."""
        self._reopen(create=True)
        state = self.store().state()
        if state is not None and (unfit := self._unfit(state)):
            self._note(f"the index {unfit}: made anew")
            self._discard()
            self._reopen(create=True)
            state = None
        if state is None:
            state = State(self.embedder.fingerprint, CODE_FINGERPRINT, str(self.root))
            self.store().begin(state)
        return state

    def _reopen(self, *, create: bool) -> None:
        """Opens the store, unless it is open and still the one in the folder."""
        if self._store is not None and self._store.replaced:
            self._store.close()
            self._store = self._view = None
        if self._store is None:
            self._store = Store(self.directory, create=create, mend=self._mend)

    def _discard(self) -> None:
        """Deletes the store and what was derived from it."""
        if self._store is not None:
            self._store.close()
        self._store = self._view = None
        remove(self.directory)
        arrays.sweep(self.directory, keep="")

    def _mended(self, error: IndexCorruptError, seen: View | None) -> None:
        """Makes the index anew after damage was met in `seen`, unless another thread just did.

        Raises the error when the index was opened as it is.
        """
        if not self._may_write:
            raise error
        with self._writing:
            if self._view is seen:
                self.update(rebuild=True)
                self._note_damage(error)

    def _note_damage(self, error: IndexCorruptError) -> None:
        self._note(f"the index was damaged and has been made anew ({error.message})")


def nothing_to_index(root: Path, why: Sequence[Skipped]) -> CorpusError:
    """The error for a folder without anything to index."""
    reasons = "; ".join(f"{skip.path}: {skip.reason}" for skip in why[:3])
    return CorpusError(f"there is nothing to index in {root}{f' ({reasons})' if reasons else ''}", f"ls -a {root}")


def _when(view: View) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.state.built_at))
