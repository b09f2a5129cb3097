"""What is read of a file: its text in any encoding, its cells, or the reason why there is nothing to read."""

from __future__ import annotations

import json
import os
import random
from hashlib import blake2b
from pathlib import Path

import pytest

from selfroute.memory.base import Document, Skipped
from selfroute.memory.languages import detect_language
from selfroute.memory.paths import printable, raw_path
from selfroute.memory.text import LoadedFile, load, read_document
from selfroute.memory.walk import FileEntry, walk


def put(root: Path, path: str, content: bytes) -> FileEntry:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    status = (root / path).stat()
    return FileEntry(path, os.fsencode(path), status.st_size, status.st_mtime_ns)


def document(root: Path, path: str, content: bytes) -> Document:
    loaded = load(root, put(root, path, content))
    assert isinstance(loaded, LoadedFile)
    assert len(loaded.documents) == 1
    return loaded.documents[0]


def reason(root: Path, path: str, content: bytes) -> str:
    """The reason why a file is left out, "" when it is not."""
    loaded = load(root, put(root, path, content))
    return loaded.reason if isinstance(loaded, Skipped) else ""


def test_a_file_is_its_text_its_language_and_the_hash_of_its_bytes(tmp_path: Path) -> None:
    entry = put(tmp_path, "a/b.py", b"x = 1\n")
    expected = (Document("a/b.py", "x = 1\n", "python"),)
    digest = blake2b(b"x = 1\n", digest_size=16).hexdigest()
    assert load(tmp_path, entry) == LoadedFile(digest, expected, 6, entry.mtime_ns)


# ---- encodings


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("naïve 漢字\n".encode(), "naïve 漢字\n"),
        (b"\xef\xbb\xbfx = 1\n", "\ufeffx = 1\n"),
        ("x = 'é'\n".encode("utf-16"), "x = 'é'\n"),
        (b"\xfe\xff" + "x = 'é'\n".encode("utf-16-be"), "x = 'é'\n"),
        ("漢字".encode("utf-16"), "漢字"),
        ("x = 'é'\n".encode("utf-32"), "x = 'é'\n"),
        ("x = 'é' # plain\n".encode("utf-16-le"), "x = 'é' # plain\n"),
        ("x = 'é' # plain\n".encode("utf-16-be"), "x = 'é' # plain\n"),
        (b"caf\xe9 \xfc\n", "café ü\n"),
        (b"one\r\ntwo\rthree\n\x0cfour", "one\r\ntwo\rthree\n\x0cfour"),
        (b"\x1b[31mred\x1b[0m\n" * 20, "\x1b[31mred\x1b[0m\n" * 20),
    ],
)
def test_text_is_decoded_and_its_newlines_are_kept(tmp_path: Path, content: bytes, text: str) -> None:
    assert document(tmp_path, "a.txt", content).text == text
    assert read_document(tmp_path, "a.txt") == text


@pytest.mark.parametrize(
    ("line", "codec"),
    [
        ("# -*- coding: cp1251 -*-", "cp1251"),
        ("#!/usr/bin/python\n# vim: set fileencoding=koi8-r :", "koi8-r"),
        ("# coding: shift_jis", "shift_jis"),
    ],
)
def test_a_coding_line_of_python_is_heeded(tmp_path: Path, line: str, codec: str) -> None:
    source = f"{line}\nx = 'Привет'\n"
    assert document(tmp_path, "a.py", source.encode(codec)).text == source


@pytest.mark.parametrize(
    "name", ["punycode", "idna", "unicode_escape", "hex", "rot13", "no-such", "utf-16", "ascii", "utf-7"]
)
def test_a_coding_line_that_cannot_be_meant_is_passed_over(tmp_path: Path, name: str) -> None:
    content = f"# coding: {name}\nx = 'é'\n".encode() + b"y = 1\n" * 20_000
    assert document(tmp_path, "a.py", content).text == content.decode()


def test_a_coding_line_counts_in_the_first_two_lines_of_python_only(tmp_path: Path) -> None:
    line = "# coding: cp1251\n"
    assert document(tmp_path, "a.py", ("\n\n" + line + "é").encode()).text == "\n\n" + line + "é"
    assert document(tmp_path, "a.py", ("x = 1\n" + line + "é").encode()).text == "x = 1\n" + line + "é"
    assert document(tmp_path, "a.rb", (line + "é").encode()).text == line + "é"


# ---- what is no source


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"%PDF-1.4\nplain enough\n",
        b"text\x00text",
        random.Random(1).randbytes(5_000),
        random.Random(2).randbytes(5_000).replace(b"\0", b""),
        bytes(range(1, 32)) * 10,
        b"\xff\xfe" + random.Random(3).randbytes(2_000),
    ],
)
def test_bytes_that_are_no_text_are_binary(tmp_path: Path, content: bytes) -> None:
    assert reason(tmp_path, "a.dat", content) == "binary"
    assert read_document(tmp_path, "a.dat") is None


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf\n"])
def test_a_file_of_blanks_is_empty(tmp_path: Path, content: bytes) -> None:
    assert reason(tmp_path, "a.py", content) == "empty"


def test_code_in_very_long_lines_is_left_out_and_prose_is_not(tmp_path: Path) -> None:
    long_lines = b"/* a licence */\n" + b"var a=1;" * 1_000
    assert reason(tmp_path, "a.js", long_lines) == "minified"
    assert reason(tmp_path, "a.css", long_lines) == "minified"
    assert reason(tmp_path, "a.py", long_lines) == "very long lines"
    assert reason(tmp_path, "a.md", long_lines) == ""
    assert reason(tmp_path, "a.js", b"var a=1;" * 100) == ""
    assert reason(tmp_path, "a.js", b"var a = 1;\n" * 3_000 + b"var b = '" + b"x" * 2_000 + b"';\n") == ""


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.pb.go", b"// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage a\n"),
        ("a_pb2.py", b"# -*- coding: utf-8 -*-\n# Generated by the protocol buffer compiler.  DO NOT EDIT!\nx = 1\n"),
        ("A.java", b"/*\n This file was auto-generated by thrift\n Do not edit it\n*/\nclass A {}\n"),
        ("a.ts", b"/**\n * @generated SignedSource<<abc>>\n */\nexport {}\n"),
        ("a.xml", b"<?xml version='1.0'?>\n<!-- Automatically generated: do not modify -->\n<a/>\n"),
    ],
)
def test_a_file_that_opens_by_saying_that_it_was_generated_is_left_out(
    tmp_path: Path, path: str, content: bytes
) -> None:
    assert reason(tmp_path, path, content) == "generated"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.py", b"HEADER = '# Generated by us. DO NOT EDIT.'\n"),
        ("a.py", b"import os\n\n# Write: generated by us, do not edit\nprint(1)\n"),
        ("a.py", b'"""Marks a file as `@generated`."""\n'),
        ("a.py", b"# Reports are generated from templates.\nx = 1\n"),
        ("a.md", b"<!-- generated, do not edit -->\n# Title\n"),
        ("a.py", b"# mail: me@generated.com\nx = 1\n"),
    ],
)
def test_a_file_that_only_speaks_of_generated_files_is_kept(tmp_path: Path, path: str, content: bytes) -> None:
    assert reason(tmp_path, path, content) == ""


def test_a_pointer_to_a_large_file_is_left_out(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    assert reason(tmp_path, "model.txt", pointer) == "pointer to a large file (git-lfs)"


# ---- files that move


def test_a_file_that_vanished_since_the_walk_is_left_out(tmp_path: Path) -> None:
    entry = put(tmp_path, "sub/a.py", b"x = 1\n")
    (tmp_path / "sub" / "a.py").unlink()
    assert load(tmp_path, entry) == Skipped("sub/a.py", "vanished")
    (tmp_path / "sub").rmdir()
    assert load(tmp_path, entry) == Skipped("sub/a.py", "vanished")


def test_a_file_that_changed_since_the_walk_is_read_as_it_is(tmp_path: Path) -> None:
    entry = put(tmp_path, "a.py", b"x = 1\n")
    put(tmp_path, "a.py", b"x = 1\ny = 2\n")
    loaded = load(tmp_path, entry)
    assert isinstance(loaded, LoadedFile)
    assert (loaded.documents[0].text, loaded.size) == ("x = 1\ny = 2\n", 12)


def test_a_file_that_grew_past_the_limit_is_not_read(tmp_path: Path) -> None:
    entry = put(tmp_path, "a.py", b"x = 1\n")
    with (tmp_path / "a.py").open("r+b") as file:
        file.truncate(1 << 30)
    assert load(tmp_path, entry) == Skipped("a.py", "larger than 1,000,000 bytes")
    assert load(tmp_path, entry, max_bytes=10) == Skipped("a.py", "larger than 10 bytes")


def test_a_file_that_the_walk_let_pass_is_read_whatever_its_size(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", b"word\n" * 300_000)
    (entry,) = walk(tmp_path, max_bytes=2_000_000).files
    assert isinstance(load(tmp_path, entry), LoadedFile)
    assert read_document(tmp_path, "a.txt") is None
    assert read_document(tmp_path, "a.txt", max_bytes=2_000_000) == "word\n" * 300_000


def test_a_file_that_became_a_link_or_a_pipe_is_not_opened(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(outside, "a.py", b"secret = 1\n")
    entries = [put(root, path, b"x = 1\n") for path in ("a.py", "sub/a.py", "b.py")]
    (root / "a.py").unlink()
    (root / "a.py").symlink_to(outside / "a.py")
    (root / "sub" / "a.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    (root / "b.py").unlink()
    os.mkfifo(root / "b.py")
    assert [load(root, entry) for entry in entries] == [
        Skipped("a.py", "became a link"),
        Skipped("sub/a.py", "became a link"),
        Skipped("b.py", "not a file"),
    ]


# ---- notebooks


def notebook(*cells: object, **metadata: object) -> bytes:
    return json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def cell(kind: str, source: object) -> dict[str, object]:
    return {"cell_type": kind, "source": source, "metadata": {}, "outputs": [{"text": "OUTPUT"}]}


def test_a_notebook_is_one_document_for_each_cell_that_says_something(tmp_path: Path) -> None:
    content = notebook(
        cell("markdown", ["# Title\n", "text"]),
        cell("code", "x = 1\n"),
        cell("code", []),
        cell("raw", "r"),
        cell("code", "y"),
    )
    loaded = load(tmp_path, put(tmp_path, "nb/a.ipynb", content))
    assert isinstance(loaded, LoadedFile)
    assert loaded.documents == (
        Document("nb/a.ipynb#cell-1", "# Title\ntext", "markdown"),
        Document("nb/a.ipynb#cell-2", "x = 1\n", "python"),
        Document("nb/a.ipynb#cell-5", "y", "python"),
    )
    assert read_document(tmp_path, "nb/a.ipynb#cell-5") == "y"
    for path in ("nb/a.ipynb", "nb/a.ipynb#cell-3", "nb/a.ipynb#cell-6", "nb/a.ipynb#cell-0", "nb/b.ipynb#cell-1"):
        assert read_document(tmp_path, path) is None


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"kernelspec": {"language": "julia"}}, "julia"),
        ({"language_info": {"name": "R"}}, "r"),
        ({"language_info": {"name": "C++"}}, "cpp"),
        ({"kernelspec": 3, "language_info": {"name": None}}, "python"),
    ],
)
def test_a_notebooks_kernel_gives_the_language_of_its_code(
    tmp_path: Path, metadata: dict[str, object], language: str
) -> None:
    assert document(tmp_path, "a.ipynb", notebook(cell("code", "x"), **metadata)).language == language


def test_an_old_notebook_keeps_its_cells_in_sheets(tmp_path: Path) -> None:
    content = json.dumps(
        {"worksheets": [{"cells": [{"cell_type": "code", "input": ["x = 1"]}]}], "nbformat": 3}
    ).encode()
    assert document(tmp_path, "a.ipynb", content) == Document("a.ipynb#cell-1", "x = 1", "python")


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b'"x"', b"{}", b'{"cells": 3}', b"[" * 100_000, b'{"worksheets": 1}', b"\xff\xff{}"]
)
def test_json_that_is_no_notebook_is_left_out(tmp_path: Path, content: bytes) -> None:
    assert reason(tmp_path, "a.ipynb", content) == "not a notebook"


def test_cells_of_another_shape_are_passed_over(tmp_path: Path) -> None:
    content = notebook(
        1, None, {}, cell("code", 3), cell("code", [1, "x"]), {"cell_type": ["code"]}, cell("code", "\ud800y")
    )
    loaded = load(tmp_path, put(tmp_path, "a.ipynb", content))
    assert isinstance(loaded, LoadedFile)
    assert [(found.path, found.text) for found in loaded.documents] == [
        ("a.ipynb#cell-5", "x"),
        ("a.ipynb#cell-7", "?y"),
    ]
    assert reason(tmp_path, "b.ipynb", notebook()) == "empty"


# ---- reading by path


def test_a_document_outside_the_root_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "sub/a.py", b"x = 1\n")
    put(tmp_path, "b.py", b"secret = 1\n")
    (root / "link.py").symlink_to("../b.py")
    (root / "up").symlink_to("..")
    paths = [
        "../b.py",
        "sub/../../b.py",
        str(tmp_path / "b.py"),
        "link.py",
        "up/b.py",
        "up/root/sub/a.py",
        "",
        ".",
        "..",
        "sub",
    ]
    paths += [
        "sub/",
        "/",
        "sub//a.py",
        "./sub/a.py",
        "sub/../sub/a.py",
        "\\x2e\\x2e/b.py",
        "\\x2e./b.py",
        "sub/a.py\0",
        "\ud83d",
    ]
    for path in paths:
        assert read_document(root, path) is None, path
    assert read_document(root, "sub/a.py") == "x = 1\n"


def test_a_name_that_is_not_utf8_is_read_by_the_path_that_is_printed(tmp_path: Path) -> None:
    for name in (b"caf\xe9.py", b"a\nb.py", b"lit\\x41.py"):
        put(tmp_path, os.fsdecode(name), repr(name).encode())
    entries = walk(tmp_path).files
    assert [entry.path for entry in entries] == ["a\\x0ab.py", "caf\\xe9.py", "lit\\x41.py"]
    for entry in entries:
        loaded = load(tmp_path, entry)
        assert isinstance(loaded, LoadedFile)
        assert loaded.documents[0].path == entry.path
        assert read_document(tmp_path, entry.path) == loaded.documents[0].text == repr(entry.raw_path)


def test_printed_paths_stand_for_their_bytes() -> None:
    for name in (b"a.py", "é/漢.py".encode(), bytes({*range(1, 256)} - {ord("\\")})):
        assert raw_path(printable(os.fsdecode(name))) == name
        assert printable(os.fsdecode(name)).isprintable()


def test_what_was_walked_and_loaded_is_read_alike(tmp_path: Path) -> None:
    rng = random.Random(0)
    for number in range(200):
        put(tmp_path, f"d{number % 7}/f{number}.py", bytes(rng.choices(b"ab\n\r\xc3\xa9\xff #=", k=rng.randint(1, 60))))
    n_loaded = 0
    for entry in walk(tmp_path).files:
        loaded = load(tmp_path, entry)
        expected = loaded.documents[0].text if isinstance(loaded, LoadedFile) else None
        assert read_document(tmp_path, entry.path) == expected
        n_loaded += expected is not None
    assert n_loaded > 150


# ---- languages


@pytest.mark.parametrize(
    ("path", "first_line", "language"),
    [
        ("src/a.py", "", "python"),
        ("a.PY", "", "python"),
        ("a.pyi", "", "python"),
        ("a.js", "", "javascript"),
        ("a.jsx", "", "javascript"),
        ("a.ts", "", "typescript"),
        ("a.tsx", "", "tsx"),
        ("a.go", "", "go"),
        ("go.mod", "", "go"),
        ("a.rs", "", "rust"),
        ("A.java", "", "java"),
        ("a.h", "", "c"),
        ("a.hpp", "", "cpp"),
        ("a.cs", "", "csharp"),
        ("a.rb", "", "ruby"),
        ("Gemfile", "", "ruby"),
        ("a.php", "", "php"),
        ("a.kt", "", "kotlin"),
        ("a.swift", "", "swift"),
        ("a.sh", "", "bash"),
        ("README.md", "", "markdown"),
        ("README", "", "text"),
        ("docs/a.rst", "", "rst"),
        ("CMakeLists.txt", "", "cmake"),
        ("notes.txt", "", "text"),
        ("pyproject.toml", "", "toml"),
        (".github/workflows/ci.yml", "", "yaml"),
        ("package.json", "", "json"),
        ("setup.cfg", "", "ini"),
        ("Dockerfile", "", "dockerfile"),
        ("docker/Dockerfile.dev", "", "dockerfile"),
        ("Makefile", "", "makefile"),
        ("a.unknown", "", ""),
        ("py", "", ""),
        ("bin/tool", "#!/usr/bin/env python3", "python"),
        ("bin/tool", "#!/usr/bin/env -S python3.11 -u", "python"),
        ("bin/tool", "#!/bin/sh", "bash"),
        ("bin/tool", "#! /usr/local/bin/node --flag", "javascript"),
        ("bin/tool", "\ufeff#!/usr/bin/ruby", "ruby"),
        ("bin/tool", "#!/usr/bin/unheard-of", ""),
        ("bin/tool", "# python", ""),
        ("a.rb", "#!/usr/bin/env python3", "ruby"),
    ],
)
def test_a_language_is_known_by_name_then_extension_then_interpreter(path: str, first_line: str, language: str) -> None:
    assert detect_language(path, first_line) == language


def test_a_script_without_extension_is_known_by_its_first_line(tmp_path: Path) -> None:
    assert document(tmp_path, "tool", b"#!/usr/bin/env python3\nprint(1)\n").language == "python"
