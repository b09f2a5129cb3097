"""Which files a walk takes and which it leaves out, on real folders, with git itself as the oracle for ignore files."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfroute.errors import CorpusError
from selfroute.memory.globs import glob_regex
from selfroute.memory.walk import Walk, walk

CACHE_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"
GIT_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "XDG_CONFIG_HOME": os.devnull,
}


def make(root: Path, *paths: str) -> Path:
    """Files of one line each."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x = 1\n")
    return root


def write(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def taken(root: Path) -> list[str]:
    return [file.path for file in walk(root).files]


def left_out(root: Path) -> dict[str, str]:
    return {skip.path: skip.reason for skip in walk(root).skipped}


def git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env=GIT_ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout


def as_nobody(code: str, *arguments: str) -> str:
    """What a Python program prints that runs without the rights of root, which no permission stops."""
    drop = "import os\nif os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\nimport sys\n"
    # Imported before the rights are dropped: the package may lie where only root may look.
    loaded = (
        "from pathlib import Path\nfrom selfroute.memory.walk import walk\nfrom selfroute.memory.text import load\n"
    )
    ran = subprocess.run([sys.executable, "-c", loaded + drop + code, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# ---- roots


def test_files_come_by_path_with_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a/z.py", "a.py", "a/b/c.py")
    os.utime(tmp_path / "b.py", ns=(5_000_000_123, 7_000_000_123))
    files = walk(tmp_path).files
    assert [file.path for file in files] == ["a.py", "a/b/c.py", "a/z.py", "b.py"]
    assert (files[-1].raw_path, files[-1].size, files[-1].mtime_ns) == (b"b.py", 6, 7_000_000_123)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert walk(tmp_path) == Walk((), ())


def test_a_missing_root_is_an_error_that_names_the_nearest_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder") as caught:
        walk(tmp_path / "no" / "where")
    assert caught.value.hint == f"ls {tmp_path}"


def test_a_file_as_root_is_an_error_that_names_its_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.py")
    with pytest.raises(CorpusError, match="is a file") as caught:
        walk(tmp_path / "a.py")
    assert caught.value.hint == f"selfroute index {tmp_path}"


def test_a_root_that_is_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CorpusError, match="loop"):
        walk(tmp_path / "loop")


def test_a_root_that_is_a_link_is_walked(tmp_path: Path) -> None:
    make(tmp_path, "real/a.py")
    (tmp_path / "link").symlink_to("real")
    assert taken(tmp_path / "link") == ["a.py"]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that anybody may reach: pytest's are its user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_what_may_not_be_read_is_left_out_and_said(open_path: Path) -> None:
    make(open_path, "a.py", "closed/b.py", "c.py")
    (open_path / "closed").chmod(0o700 if os.geteuid() == 0 else 0)
    (open_path / "c.py").chmod(0o600 if os.geteuid() == 0 else 0)
    printed = as_nobody(
        "found = walk(Path(sys.argv[1]))\n"
        "print([f.path for f in found.files], [(s.path, s.reason) for s in found.skipped])\n"
        "print(load(Path(sys.argv[1]), found.files[1]).reason)",
        str(open_path),
    )
    assert printed == "['a.py', 'c.py'] [('closed/', 'no permission')]\nno permission\n"


def test_a_root_that_may_not_be_read_is_an_error(open_path: Path) -> None:
    open_path.chmod(0o700 if os.geteuid() == 0 else 0)
    printed = as_nobody(
        "try: walk(Path(sys.argv[1]))\nexcept Exception as e: print(e.message, '|', e.hint)", str(open_path)
    )
    assert printed == f"no permission to read {open_path} | ls -ld {open_path}\n"


# ---- what is no plain file


def test_links_are_never_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "src/a.py")
    make(tmp_path, "outside/secret.py")
    (root / "to_file.py").symlink_to("src/a.py")
    (root / "to_folder").symlink_to("src")
    (root / "to_self").symlink_to(".")
    (root / "src" / "up").symlink_to("..")
    (root / "out").symlink_to("../outside")
    (root / "out.py").symlink_to(tmp_path / "outside" / "secret.py")
    (root / "broken").symlink_to("nothing")
    (root / "circle").symlink_to("circle")
    assert taken(root) == ["src/a.py"]
    assert left_out(root) == {
        "to_file.py": "link to src/a.py",
        "to_folder": "link to src",
        "to_self": "link to .",
        "src/up": "link to .",
        "out": "link that leaves the folder",
        "out.py": "link that leaves the folder",
        "broken": "broken link",
        "circle": "broken link",
    }


def test_pipes_and_sockets_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may not be long
        try:
            listener.bind("socket.py")
        finally:
            os.chdir(here)
        assert left_out(tmp_path) == {"pipe.py": "named pipe", "socket.py": "socket"}


def test_empty_and_large_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "empty.py").touch()
    (tmp_path / "fits.py").write_bytes(b"x" * 100)
    (tmp_path / "over.py").write_bytes(b"x" * 101)
    with (tmp_path / "sparse.py").open("wb") as file:
        file.truncate(1 << 30)
    found = walk(tmp_path, max_bytes=100)
    assert [file.path for file in found.files] == ["fits.py"]
    assert [(skip.path, skip.reason) for skip in found.skipped] == [
        ("empty.py", "empty"),
        ("over.py", "larger than 100 bytes"),
        ("sparse.py", "larger than 100 bytes"),
    ]
    assert left_out(tmp_path)["sparse.py"] == "larger than 1,000,000 bytes"


# ---- names


def test_names_that_cannot_be_printed_are_shown_by_their_bytes(tmp_path: Path) -> None:
    for name in (b"caf\xe9.py", b"line\nbreak.py", b"\x1b[31mred.py", "日本.py".encode(), b"back\\slash.py"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("x = 1\n")
    assert {file.path: file.raw_path for file in walk(tmp_path).files} == {
        "\\x1b[31mred.py": b"\x1b[31mred.py",
        "back\\slash.py": b"back\\slash.py",
        "caf\\xe9.py": b"caf\xe9.py",
        "line\\x0abreak.py": b"line\nbreak.py",
        "日本.py": "日本.py".encode(),
    }


def test_of_two_names_that_print_alike_the_one_that_stands_so_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "caf\\xe9.py", os.fsdecode(b"caf\xe9.py"))
    assert [file.raw_path for file in walk(tmp_path).files] == [b"caf\\xe9.py"]
    assert left_out(tmp_path) == {"caf\\xe9.py": "its name prints like another's"}


# ---- clutter


def test_hidden_names_are_left_out_but_for_those_that_tell_how_a_project_is_built(tmp_path: Path) -> None:
    make(tmp_path, ".github/workflows/ci.yml", ".gitlab-ci.yml", ".idea/x.xml", ".eslintcache", "src/.hidden.py")
    assert taken(tmp_path) == [".github/workflows/ci.yml", ".gitlab-ci.yml"]
    assert left_out(tmp_path) == {".idea/": "hidden", ".eslintcache": "hidden", "src/.hidden.py": "hidden"}


def test_folders_of_packages_and_caches_are_one_entry_each(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.py",
        "node_modules/x/index.js",
        "__pycache__/a.cpython-311.py",
        "x.egg-info/PKG-INFO",
        ".git/config",
    )
    make(tmp_path, "env/lib/x.py", "env/pyvenv.cfg", "go/vendor/x/x.go", "go/vendor/modules.txt", "vendor/own.py")
    make(tmp_path, "target/x.rs", "third_party/lib.c", "fake/x.py", "fake/CACHEDIR.TAG", "app/env/x.py")
    write(tmp_path, "target/CACHEDIR.TAG", CACHE_TAG)
    assert taken(tmp_path) == ["a.py", "app/env/x.py", "fake/CACHEDIR.TAG", "fake/x.py", "vendor/own.py"]
    assert left_out(tmp_path) == {
        ".git/": "version control",
        "__pycache__/": "cache",
        "env/": "virtual environment",
        "go/vendor/": "installed packages",
        "node_modules/": "installed packages",
        "target/": "cache",
        "third_party/": "installed packages",
        "x.egg-info/": "installed packages",
    }


def test_a_root_is_walked_whatever_it_is_called(tmp_path: Path) -> None:
    make(tmp_path, ".venv/site-packages/a.py", ".venv/pyvenv.cfg")
    write(tmp_path, ".venv/CACHEDIR.TAG", CACHE_TAG)
    assert taken(tmp_path / ".venv" / "site-packages") == ["a.py"]
    assert taken(tmp_path / ".venv") == ["CACHEDIR.TAG", "pyvenv.cfg"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("uv.lock", "lock file"),
        ("package-lock.json", "lock file"),
        ("Cargo.lock", "lock file"),
        ("logo.PNG", "binary"),
        ("jquery.min.js", "minified"),
        ("app.js.map", "source map"),
        (".env", "environment file"),
        ("server.pem", "private key"),
    ],
)
def test_files_that_are_no_source_are_left_out_by_name(tmp_path: Path, name: str, reason: str) -> None:
    make(tmp_path, name, "a.py")
    assert taken(tmp_path) == ["a.py"]
    assert left_out(tmp_path) == {name: reason}


# ---- .selfrouteignore


def test_selfrouteignore_has_the_last_word_but_for_secrets(tmp_path: Path) -> None:
    make(
        tmp_path, "kept/a.py", "kept/b.log", "drop/c.py", ".config/d.py", "node_modules/e.js", "uv.lock", ".env", "f.py"
    )
    make(tmp_path, "env/pyvenv.cfg", "env/g.py")
    write(tmp_path, ".gitignore", "kept/\n*.log\n")
    write(
        tmp_path,
        ".selfrouteignore",
        "!kept/\n!kept/*.log\ndrop/\n!.config/\n!node_modules/\n!*.lock\n!.env\n!/env/\nf.py\n",
    )
    write(tmp_path, "drop/.selfrouteignore", "!c.py\n")
    assert taken(tmp_path) == [
        ".config/d.py",
        "env/g.py",
        "env/pyvenv.cfg",
        "kept/a.py",
        "kept/b.log",
        "node_modules/e.js",
        "uv.lock",
    ]
    assert left_out(tmp_path) == {
        ".env": "environment file",
        ".gitignore": "hidden",
        ".selfrouteignore": "hidden",
        "drop/": "ignored by .selfrouteignore",
        "f.py": "ignored by .selfrouteignore",
    }


def test_the_nearest_selfrouteignore_decides(tmp_path: Path) -> None:
    make(tmp_path, "a.sql", "db/a.sql", "db/old/a.sql")
    write(tmp_path, ".selfrouteignore", "*.sql\n")
    write(tmp_path, "db/.selfrouteignore", "!*.sql\n/old/a.sql\n")
    assert taken(tmp_path) == ["db/a.sql"]
    assert left_out(tmp_path)["db/old/a.sql"] == "ignored by db/.selfrouteignore"


# ---- .gitignore


def test_gitignore_holds_outside_a_work_tree(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "a.log", "build/x.py", "sub/keep.log", "sub/b.log")
    write(tmp_path, ".gitignore", "*.log\n/build/\n")
    write(tmp_path, "sub/.gitignore", "!keep.log\n")
    assert taken(tmp_path) == ["a.py", "sub/keep.log"]
    assert left_out(tmp_path)["build/"] == "ignored by .gitignore"


def test_what_lies_around_a_root_in_a_work_tree_holds_in_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    make(tmp_path, "pkg/src/a.py", "pkg/src/gen/b.py", "pkg/src/c.log", "pkg/src/d.tmp", "pkg/src/e.txt")
    write(tmp_path, ".gitignore", "*.log\npkg/src/gen\n")
    write(tmp_path, "pkg/.gitignore", "src/*.txt\n")
    write(tmp_path, ".git/info/exclude", "*.tmp\n")
    assert taken(tmp_path / "pkg" / "src") == ["a.py"]
    assert left_out(tmp_path / "pkg" / "src") == {
        "c.log": "ignored by ../../.gitignore",
        "d.tmp": "ignored by .git/info/exclude",
        "e.txt": "ignored by ../.gitignore",
        "gen/": "ignored by ../../.gitignore",
    }


def test_an_ignored_folder_that_is_asked_for_is_walked(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    make(tmp_path, "build/out/a.py", "build/out/b.log")
    write(tmp_path, ".gitignore", "build/\n*.log\n")
    write(tmp_path, "build/.gitignore", "*\n")
    assert taken(tmp_path / "build" / "out") == ["a.py", "b.log"]


def test_a_repository_within_has_its_own_rules(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    make(tmp_path, "inner/a.log", "inner/b.tmp", "c.log")
    git(tmp_path / "inner", "init", "-q")
    write(tmp_path, ".gitignore", "*.log\n")
    write(tmp_path, "inner/.git/info/exclude", "*.tmp\n")
    assert taken(tmp_path) == ["inner/a.log"]


def test_a_linked_work_tree_has_the_excludes_of_its_repository(tmp_path: Path) -> None:
    main = make(tmp_path / "main", "a.py")
    git(main, "init", "-q")
    git(main, "add", "a.py")
    git(main, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one")
    git(main, "worktree", "add", "-q", "../other")
    write(main, ".git/info/exclude", "*.tmp\n")
    make(tmp_path / "other", "b.tmp")
    assert taken(tmp_path / "other") == ["a.py"]


def test_an_ignore_file_that_is_a_link_or_a_pipe_or_noise_is_harmless(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "one/b.py", "two/c.py", "three/d.py")
    write(tmp_path, "patterns", "*.py\n")
    (tmp_path / ".gitignore").symlink_to("patterns")
    os.mkfifo(tmp_path / "one" / ".gitignore")
    (tmp_path / "two" / ".gitignore").write_bytes(b"[\n\\\n!\n/\n//\n[z-\n[[:no:]]\n\xff\xfe\x00\n**\\\n")
    (tmp_path / "three" / ".gitignore").mkdir()
    assert taken(tmp_path) == ["a.py", "one/b.py", "patterns", "three/d.py", "two/c.py"]


def test_a_glob_of_many_stars_takes_no_time(tmp_path: Path) -> None:
    make(tmp_path, "a" * 200)
    write(tmp_path, ".gitignore", "*a*a*a*a*a*a*a*a*a*a*a*b\n")
    assert taken(tmp_path) == ["a" * 200]
    assert glob_regex("*a*b") == "(?>[^/]*?a)[^/]*b"


NAMES = ["a", "b", "ab", "aab", "a.py", "b.log", "x[1]", "lib", " sp", "c d", "build", "a-b", "]", "-", "a!", "#c"]
GLOBS = [
    "*",
    "?",
    "a*",
    "*.py",
    "*.log",
    "**",
    "[ab]",
    "[!a]",
    "[^b]*",
    "[a-c]",
    "[]a]",
    "[a-]*",
    "\\a",
    "a\\*",
    "**a",
    "a**b",
]
GLOBS += [
    "*b*",
    "*a*b",
    "[[:alpha:]]",
    "[z-a]",
    "[",
    "a[",
    "\\",
    "x\\[1\\]",
    "x[[]1]",
    "[!]]",
    "[\\]]",
    "[a\\-b]",
    "\\#c",
    *NAMES,
]


def random_pattern(rng: random.Random) -> str:
    parts = [rng.choice(GLOBS) for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))]
    pattern = "/" * (rng.random() < 0.25) + "/".join(parts) + "/" * (rng.random() < 0.25)
    return "!" * (rng.random() < 0.3) + pattern + rng.choice([""] * 20 + [" ", "\\ ", "\t", "\r"])


@pytest.mark.parametrize("seed", range(20))
def test_ignore_files_say_what_git_says_of_random_trees(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    git(tmp_path, "init", "-q")
    for _ in range(120):
        path = tmp_path / "/".join(rng.choice(NAMES) for _ in range(rng.randint(1, 4)))
        try:
            make(path.parent, path.name)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # the name is taken by a file or folder
    folders = [path for path in tmp_path.rglob("*") if path.is_dir() and ".git" not in path.parts]
    for folder in (tmp_path, *rng.sample(folders, min(6, len(folders)))):
        lines = "\n".join(random_pattern(rng) for _ in range(rng.randint(1, 4)))
        write(folder, ".gitignore", lines)
    write(tmp_path, ".git/info/exclude", random_pattern(rng))
    root = rng.choice([tmp_path, *(folder for folder in folders if folder.parent == tmp_path)])

    listed = os.fsdecode(git(root, "ls-files", "-z", "--others", "--exclude-standard")).split("\0")
    expected = sorted(path for path in listed if path and not path.endswith(".gitignore"))
    asked = subprocess.run(["git", "check-ignore", "-q", root.name], cwd=tmp_path, env=GIT_ENVIRONMENT)
    if root != tmp_path and asked.returncode == 0:
        assert expected == []  # git takes nothing from such a folder; a walk that is asked for it does
    else:
        assert taken(root) == expected
