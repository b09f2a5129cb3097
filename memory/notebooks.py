"""Notebooks as documents: one for each code or markdown cell; outputs, which nobody wrote, are left out."""

from __future__ import annotations

import json
import re

from selfroute.memory.base import Document

_CELL_PATH = re.compile(r"(.*\.ipynb)#cell-([1-9]\d{0,8})", re.DOTALL | re.IGNORECASE)


def is_notebook(path: str) -> bool:
    """Whether a file of this name is a Jupyter notebook."""
    return path[-6:].lower() == ".ipynb"


def split_path(path: str) -> tuple[str, int]:
    """The notebook and the cell of `nb.ipynb#cell-3`: ("nb.ipynb", 3); any other path as it is, and 0."""
    found = _CELL_PATH.fullmatch(path)
    return (found[1], int(found[2])) if found else (path, 0)


def cells(path: str, text: str) -> tuple[Document, ...] | None:
    """The code and markdown cells that are not blank, as path#cell-N, N from 1 over all cells; None for no notebook."""
    try:
        notebook = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    listed = _cells_of(notebook)
    if listed is None:
        return None
    code = _language(notebook)
    documents = []
    for number, cell in enumerate(listed, 1):
        if not isinstance(cell, dict):
            continue
        kind = cell.get("cell_type")
        if kind not in ("code", "markdown"):
            continue
        source = _source(cell)
        if source and not source.isspace():
            documents.append(Document(f"{path}#cell-{number}", source, code if kind == "code" else "markdown"))
    return tuple(documents)


def _cells_of(notebook: object) -> list[object] | None:
    if not isinstance(notebook, dict):
        return None
    found = notebook.get("cells")
    if found is None:  # format 3 and older: in sheets
        sheets = notebook.get("worksheets")
        if not isinstance(sheets, list):
            return None
        found = []
        for sheet in sheets:
            of_sheet = sheet.get("cells") if isinstance(sheet, dict) else None
            found += of_sheet if isinstance(of_sheet, list) else []
    return found if isinstance(found, list) else None


def _source(cell: dict[str, object]) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return ""
    # JSON can write half of a surrogate pair, which is no text; whole pairs it has joined already.
    return source if source.isascii() else source.encode("utf-8", "replace").decode()


def _language(notebook: dict[str, object]) -> str:
    """The kernel's language by the names that languages.py uses, python when the notebook does not say."""
    metadata = notebook.get("metadata")
    if isinstance(metadata, dict):
        for section, key in (("kernelspec", "language"), ("language_info", "name")):
            inner = metadata.get(section)
            name = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(name, str) and name:
                name = name.lower()
                return {"c++": "cpp", "c#": "csharp", "f#": "fsharp", "ipython": "python", "sh": "bash"}.get(name, name)
    return "python"
