"""What a machine does to a run: full disks, failing writes, signals, clocks, files that move. Nothing is torn."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from selfroute.errors import SelfRouteError
from selfroute.memory.check import check, unwritten
from selfroute.memory.index import Index
from selfroute.memory.lock import WriterLock
from selfroute.memory.text import LoadedFile, load
from selfroute.memory.walk import FileEntry
from selfroute.models.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder(64)
CLI = "import sys; from selfroute.router.cli import main; sys.exit(main())"
OLD = 1_600_000_000


def write(root: Path, n_files: int, version: int, n: int = 6) -> Path:
    root.mkdir(exist_ok=True)
    for i in range(n_files):
        parts = [
            f"def counter_{i}_{k}(value):\n    total_{version} = value + {k}\n    return total_{version}\n\n\n"
            for k in range(n)
        ]
        (root / f"module_{i}.py").write_text("".join(parts))
    return root


def digest_of(root: Path, directory: Path) -> str:
    with Index.open(root, directory=directory, embedder=EMBEDDER) as index:
        return index.digest()


def whole(root: Path, directory: Path) -> None:
    """Every stored byte is what was written."""
    with unwritten(directory, wait_seconds=5):
        found = check(root, directory)
    assert found.problems == ()


# the n-th write or flush fails

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[4096];
static long at, seen;
static int code, stays, step;

/* From now on the n-th write, flush, cut or renaming below the folder fails, and those after it when it stays. */
void fail_at(const char *name, long n, int error, int forever) {
    strncpy(folder, name, sizeof folder - 1);
    at = n; seen = 0; code = error; stays = forever;
}
long n_seen(void) { return seen; }
void step_clock(int seconds) { step = seconds; }

static int below(const char *path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }
static int fails_now(void) {
    seen++;
    if (at && (seen == at || (stays && seen > at))) { errno = code; return 1; }
    return 0;
}
static int fails(int fd) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path) && fails_now();
}
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t); return fails(fd) ? -1 : real(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t o) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t); return fails(fd) ? -1 : real(fd, data, n, o);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t o) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t); return fails(fd) ? -1 : real(fd, data, n, o);
}
int fsync(int fd) { REAL(int, "fsync", int); return fails(fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); return fails(fd) ? -1 : real(fd); }
int ftruncate(int fd, off_t n) { REAL(int, "ftruncate", int, off_t); return fails(fd) ? -1 : real(fd, n); }
int ftruncate64(int fd, off64_t n) { REAL(int, "ftruncate64", int, off64_t); return fails(fd) ? -1 : real(fd, n); }
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *); return below(to) && fails_now() ? -1 : real(from, to);
}
int clock_gettime(clockid_t id, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int made = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += step;
    return made;
}
"""

DRIVER = """
import ctypes, errno, json, shutil, sqlite3, sys
from pathlib import Path
from selfroute.errors import IndexCorruptError, IndexMissingError, SelfRouteError
from selfroute.memory.check import check, unwritten
from selfroute.memory.index import Index
from selfroute.memory.repair import repair
from selfroute.models.hashing import HashingEmbedder

shim = ctypes.CDLL(None)
embedder = HashingEmbedder(64)
scenario, stride = sys.argv[1], int(sys.argv[2])
root, first, work = map(Path, sys.argv[3:])
directory = work / "index"

def prepared():
    shutil.rmtree(directory, ignore_errors=True)
    if scenario != "index":
        shutil.copytree(first, directory)
    if scenario == "repair":
        database = sqlite3.connect(directory / "index.sqlite")
        with database:
            database.execute("UPDATE chunks SET text = 'x' WHERE row = (SELECT max(row) FROM chunks)")
        database.close()
        for path in directory.glob("arrays-*"):
            path.write_bytes(path.read_bytes()[:-1])

def run():
    if scenario == "repair":
        repair(root, directory, embedder, max_file_bytes=1_000_000)
    else:
        Index.open(root, directory=directory, embedder=embedder).close()

def digest(**options):
    with Index.open(root, directory=directory, embedder=embedder, **options) as index:
        return index.digest()

prepared()
before = "" if scenario == "index" else None
if scenario == "update":
    before = digest(update=False)
    prepared()
shim.fail_at(str(directory).encode(), 0, 0, 0)
run()
n_calls = shim.n_seen()
shim.fail_at(b"", 0, 0, 0)
after = digest()
told = {"calls": n_calls, "tries": 0, "failed": 0, "went on": 0, "messages": []}
for error in (errno.ENOSPC, errno.EIO):
    for forever in (0, 1):
        for n in range(1 + told["tries"] % stride, n_calls + 1, stride):
            where = f"{scenario} {errno.errorcode[error]} at {n} of {n_calls}, forever={forever}"
            prepared()
            shim.fail_at(str(directory).encode(), n, error, forever)
            told["tries"] += 1
            try:
                run()
                told["went on"] += 1
            except SelfRouteError as failed:
                told["failed"] += 1
                assert failed.hint, where
                told["messages"].append(f"{type(failed).__name__}: {failed.message}")
            finally:
                shim.fail_at(b"", 0, 0, 0)
            if scenario != "repair":
                try:
                    assert digest(update=False) in (before, after), where
                except IndexMissingError:
                    assert scenario == "index", where
            else:
                assert repair(root, directory, embedder, max_file_bytes=1_000_000).checked.ok, where
            assert digest() == after, where
            with unwritten(directory):
                found = check(root, directory)
            assert found.ok, (where, found.problems)
told["messages"] = sorted({message.replace(str(directory), "DIR") for message in told["messages"]})
print(json.dumps(told))
"""

CLOCK = """
import ctypes, os, sys
from pathlib import Path
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder

shim, embedder, root, directory = ctypes.CDLL(None), HashingEmbedder(64), Path(sys.argv[1]), Path(sys.argv[2])
file = root / "module_0.py"
text = file.read_text()
for i, step in enumerate((86_400, -86_400, 0, -10**9, 10**9, 0)):
    shim.step_clock(step)
    with Index.open(root, directory=directory, embedder=embedder) as index:
        changed = text.replace("counter", "c%06d" % i)  # of the same size
        file.write_text(changed)
        assert index.age_seconds >= 0, step
        index.update()
        assert index.search("c%06d_0_1" % i)[0].chunk.path == "module_0.py", step
        digest = index.digest()
    with Index.open(root, directory=directory.with_name("fresh%d" % i), embedder=embedder) as fresh:
        assert fresh.digest() == digest, step
print("right")
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes writes fail, compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler: failing writes cannot be injected")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", "shim.so", "shim.c", "-ldl"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"the C compiler does not compile: {made.stderr[-200:]}")
    return folder / "shim.so"


def with_shim(shim: Path, code: str, *arguments: object) -> str:
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def inject(shim: Path, tmp_path: Path, scenario: str, stride: int) -> dict[str, object]:
    root = write(tmp_path / "corpus", 6, 1)
    digest_of(root, tmp_path / "first")
    if scenario == "update":
        write(root, 3, 2)
        (root / "module_5.py").unlink()
        write(root, 1, 3)
    (tmp_path / "work").mkdir()
    told: dict[str, object] = json.loads(
        with_shim(shim, DRIVER, scenario, stride, root, tmp_path / "first", tmp_path / "work")
    )
    return told


SCENARIOS = ("index", "update", "repair")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_write_that_fails_tears_nothing(shim: Path, tmp_path: Path, scenario: str) -> None:
    told = inject(shim, tmp_path, scenario, stride=7)
    assert int(str(told["failed"])) > 5, told


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_write_that_fails_tears_nothing(shim: Path, tmp_path: Path, scenario: str) -> None:
    told = inject(shim, tmp_path, scenario, stride=1)
    print(scenario, told)
    assert int(str(told["failed"])) > 50, told


def test_a_clock_that_steps_hides_no_change(shim: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 3, 1)
    assert with_shim(shim, CLOCK, root, tmp_path / "index") == "right\n"


# full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system; the limit on the size of files stands in for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fills a disk but for some bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "filler").write_bytes(b"x" * max(0, free - leave))
    return folder / "filler"


def test_a_disk_that_is_full_is_one_error_and_tears_nothing(small_disk: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 12, 1)
    digest = digest_of(root, tmp_path / "elsewhere")
    n_full = 0
    for leave in (*range(0, 180_000, 12_288), 1_000_000):
        filler = fill(small_disk, leave)
        try:
            digest_of(root, small_disk / "index")
        except SelfRouteError as error:
            n_full += 1
            assert error.hint
            assert "damaged" not in error.message
        filler.unlink()
        assert digest_of(root, small_disk / "index") == digest
        whole(root, small_disk / "index")
        shutil.rmtree(small_disk / "index")
    assert n_full > 5


def test_a_disk_that_is_full_during_an_update_leaves_what_was_there(small_disk: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 12, 1)
    first = digest_of(root, small_disk / "index")
    write(root, 12, 2)
    second = digest_of(root, tmp_path / "elsewhere")
    n_full = 0
    for leave in (0, 4_096, 16_384, 40_960, 81_920):
        shutil.rmtree(small_disk / "index")
        write(root, 12, 1)
        assert digest_of(root, small_disk / "index") == first
        write(root, 12, 2)
        filler = fill(small_disk, leave)
        try:
            digest_of(root, small_disk / "index")
        except SelfRouteError as error:
            n_full += 1
            assert error.hint
        try:
            with Index.open(root, directory=small_disk / "index", embedder=EMBEDDER, update=False) as index:
                assert index.digest() in (first, second)
        except SelfRouteError as error:  # no room even for what reading a log needs
            assert "damaged" not in error.message
        filler.unlink()
        assert digest_of(root, small_disk / "index") == second
        whole(root, small_disk / "index")
    assert n_full >= 3


LIMITED = """
import resource, signal, sys
from selfroute.errors import SelfRouteError
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Index.open(sys.argv[1], directory=__import__("pathlib").Path(sys.argv[2]), embedder=HashingEmbedder(64)).close()
except SelfRouteError as error:
    print(error.message, error.hint, sep="\\n")
"""


@pytest.mark.parametrize("limit", [0, 20_000, 60_000])
def test_a_file_that_may_not_grow_is_one_error_and_tears_nothing(tmp_path: Path, limit: int) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    root = write(tmp_path / "corpus", 12, 1)
    digest = digest_of(root, tmp_path / "elsewhere")
    command = [sys.executable, "-c", LIMITED, str(root), str(tmp_path / "index"), str(limit)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    assert digest_of(root, tmp_path / "index") == digest
    whole(root, tmp_path / "index")


# signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_an_index_run_cleanly(tmp_path: Path, number: signal.Signals, code: int) -> None:
    root = write(tmp_path / "corpus", 500, 1, n=12)
    digest = digest_of(root, tmp_path / "whole")
    directory = tmp_path / "index"
    command = [sys.executable, "-c", CLI, "index", str(root), "--index-dir", str(directory), "--embedder", "hashing"]
    process = subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (directory / "index.sqlite").exists():
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")
    lock = WriterLock(directory / "lock")
    assert lock.acquire()
    lock.release()
    whole(root, directory)
    assert digest_of(root, directory) == digest


def test_a_signal_handler_of_ones_own_is_given_back(tmp_path: Path) -> None:
    from selfroute.router.cli import main

    before = signal.getsignal(signal.SIGTERM)
    assert main(["search", "x", "--path", str(tmp_path / "none")]) == 3
    assert signal.getsignal(signal.SIGTERM) is before


# locks


def test_a_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 3, 1)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "lock").write_text(f"{process.pid}\n")
    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER, wait_seconds=0) as index:
        assert index.notes == ()


def test_a_lock_of_a_stopped_process_is_waited_for_and_named(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 3, 1)
    (tmp_path / "index").mkdir()
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path / "index" / "lock"),))
    holder.start()
    try:
        while not (tmp_path / "index" / "lock").exists() or not (tmp_path / "index" / "lock").read_text():
            time.sleep(0.01)
        with pytest.raises(SelfRouteError, match=f"process {holder.pid} is writing the index"):
            Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER, wait_seconds=0.1)
    finally:
        holder.kill()
        holder.join()
    Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER, wait_seconds=0).close()


def _hold(path: str) -> None:
    lock = WriterLock(Path(path))
    assert lock.acquire()
    time.sleep(60)


# files that move under the reader


def settled(root: Path, directory: Path, tmp_path: Path) -> None:
    """One more update brings the index to what the files are now."""
    with Index.open(root, directory=directory, embedder=EMBEDDER) as index:
        digest = index.digest()
    assert digest_of(root, tmp_path / "fresh") == digest
    whole(root, directory)


def test_files_that_change_between_the_walk_and_the_read(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 8, 1)
    outside = tmp_path / "outside.py"
    outside.write_text("OUTSIDE = 'never to be read'\n")

    def disturb(stage: str, done: int, total: int) -> None:
        if (stage, done) != ("index", 1):
            return
        with (root / "module_2.py").open("a") as grown:
            grown.write("def grown():\n    return 1\n" * 50)
        (root / "module_3.py").write_text("x = 1\n")
        (root / "module_4.py").unlink()
        (root / "module_5.py").unlink()
        (root / "module_5.py").mkdir()
        (root / "module_6.py").unlink()
        (root / "module_6.py").symlink_to(outside)
        (root / "module_7.py").unlink()
        os.mkfifo(root / "module_7.py")

    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER, progress=disturb) as index:
        reasons = {skip.path: skip.reason for skip in index.stats.skipped}
        assert reasons["module_4.py"] == "vanished"
        assert {"module_5.py", "module_6.py", "module_7.py"} <= set(reasons)
        assert not any("never to be read" in chunk.text for chunk in index.chunks())
        assert index.search("grown")[0].chunk.path == "module_2.py"
    settled(root, tmp_path / "index", tmp_path)


def test_a_file_that_is_written_while_it_is_read_is_read_as_it_was_hashed(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    path = root / "moving.py"
    path.write_text("x = 1\n")
    stop = threading.Event()

    def rewrite() -> None:
        n = 0
        while not stop.is_set():
            n = n % 400 + 7
            with path.open("r+b") as file:
                file.write(b"value = 1\n" * n)
                file.truncate()

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        n_loaded = 0
        for _ in range(300):
            loaded = load(root, FileEntry("moving.py", b"moving.py", 6, 0), max_bytes=100_000)
            if isinstance(loaded, LoadedFile):
                n_loaded += 1
                (document,) = loaded.documents
                assert blake2b(document.text.encode(), digest_size=16).hexdigest() == loaded.content_hash
        with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER) as index:
            for _ in range(20):
                index.update()
                assert index.search("value")
    finally:
        stop.set()
        writer.join()
    assert n_loaded > 200
    settled(root, tmp_path / "index", tmp_path)


def test_a_folder_that_vanishes_is_one_error(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 3, 1)
    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        shutil.rmtree(root)
        with pytest.raises(SelfRouteError, match="no such folder"):
            index.update()
        assert index.search("counter_1_1")[0].stale


# times


@pytest.mark.parametrize("year", [1970, 1980, 2038, 2100])
def test_times_of_files_in_any_year_hide_no_change(tmp_path: Path, year: int) -> None:
    root = write(tmp_path / "corpus", 3, 1)
    seconds = max(1, (year - 1970) * 31_556_952)
    for path in root.iterdir():
        os.utime(path, (seconds, seconds))
    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        for i, earlier in enumerate((0, 1, 3_600, seconds - 1)):
            path = root / "module_1.py"
            path.write_text(path.read_text().replace("counter", "counted" if i % 2 == 0 else "counter"))
            os.utime(path, (seconds - earlier, seconds - earlier + (0 if year > 2030 else 1)))
            index.update()
            wanted = "counted_1_2" if i % 2 == 0 else "counter_1_2"
            found = [hit.chunk.text for hit in index.search(wanted) if hit.chunk.path == "module_1.py"]
            path_text = path.read_text()
            assert found and all(text in path_text for text in found)
    settled(root, tmp_path / "index", tmp_path)


def test_a_copy_with_times_kept_is_read_when_its_content_is_another(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 2, 1)
    for path in root.iterdir():
        os.utime(path, (OLD, OLD))
    digest_of(root, tmp_path / "index")
    (root / "module_0.py").write_text((root / "module_0.py").read_text().replace("counter", "another"))
    os.utime(root / "module_0.py", (OLD - 1, OLD - 1))  # an older backup put back
    settled(root, tmp_path / "index", tmp_path)


# a home that is not there


def test_without_a_home_everything_works(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", 2, 1)
    for environment in ({}, {"HOME": "/nonexistent"}):
        command = [sys.executable, "-c", CLI, "ask", "Where is counter_1_1 defined?", "--path", str(root)]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("def counter_1_1")
