"""Facts about a project: METADATA and entry_points.txt of installed ones, pyproject.toml and setup.cfg of sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from selfroute.models.training.code_facts import Fact

_HEADER = re.compile(
    r"^(Version|Summary|License|License-Expression|Author|Author-email|Home-page|Requires-Python): *(\S.*)$", re.M
)
_REQUIRES_DIST = re.compile(
    r"^Requires-Dist: ([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])? *\(?((?:[<>=!~]=?=?)[^;()\n]*?)\)? *(?:;.*)?$", re.M
)
_ITEM = re.compile(
    r"""^[ \t]*["']?([A-Za-z0-9][\w.-]*)(?:\[[^\]\n]*\])? *((?:[<>=!~]=?=?)[^;"'\n#]*?) *(?:;[^\n]*)?["']?,?[ \t]*$""",
    re.M,
)
_ENTRY = re.compile(r"""^[ \t]*["']?([\w.-]+)["']? *= *["']?([\w.]+:[\w.]+)["']?[ \t]*$""", re.M)
_SECTION = re.compile(r"^\[([^\]\n]+)\]+[ \t]*$", re.M)
_TOML = re.compile(r"""^(version|description|license|requires-python) *= *["']([^"'\n]+)["'] *$""", re.M)
_CFG = re.compile(r"^[ \t]*(version|description|license|author|url|python_requires) *= *(\S[^\n]*)$", re.M)
_LISTS = re.compile(
    r"^[ \t]*(?:dependencies *= *\[|install_requires *=)[ \t]*\n((?:[^\n\]]*\n)*?)(?=[ \t]*\]|\S|\n|\Z)", re.M
)
_WORDS = {
    "Version": "version",
    "Summary": "description",
    "License": "license",
    "License-Expression": "license",
    "Author": "author",
    "Author-email": "author email",
    "Home-page": "home page",
    "url": "home page",
}


def project_facts(text: str, path: str) -> Iterator[Fact]:
    """The facts of one such file; none for another file."""
    name = PurePosixPath(path).name
    if name == "METADATA":
        head = text.partition("\n\n")[0]
        title = re.search(r"^Name: *(\S+)", head, re.M)
        project = title[1] if title else ""
        fields = [(match[1], match) for match in _HEADER.finditer(head)]
        needed = list(_REQUIRES_DIST.finditer(head))
        entries: list[re.Match[str]] = []
    elif name == "entry_points.txt":
        project, fields, needed = PurePosixPath(path).parent.name.partition("-")[0], [], []
        entries = list(_within(text, ("console_scripts",), _ENTRY))
    elif name == "pyproject.toml":
        title = re.search(r"""^name *= *["']([^"'\n]+)["']""", text, re.M)
        project = title[1] if title else ""
        fields = [(match[1], match) for match in _within(text, ("project",), _TOML)]
        needed = [item for part in _within(text, ("project",), _LISTS) for item in _ITEM.finditer(text, *part.span(1))]
        entries = list(_within(text, ("project.scripts",), _ENTRY))
    elif name == "setup.cfg":
        title = re.search(r"^name *= *(\S+)", text, re.M)
        project = title[1] if title else ""
        fields = [(match[1], match) for match in _within(text, ("metadata", "options"), _CFG)]
        needed = [item for part in _within(text, ("options",), _LISTS) for item in _ITEM.finditer(text, *part.span(1))]
        entries = list(_within(text, ("options.entry_points",), _ENTRY))
    else:
        return
    if project and "\r" not in text:
        yield from _facts(text, project, fields, needed, entries)


def _facts(
    text: str,
    project: str,
    fields: list[tuple[str, re.Match[str]]],
    needed: list[re.Match[str]],
    entries: list[re.Match[str]],
) -> Iterator[Fact]:
    def fact(kind: str, match: re.Match[str], names: dict[str, str]) -> Fact:
        start, end = match.span(2)
        line = text.count("\n", 0, start) + 1
        return Fact(kind, project, "project", ((start, end),), (line, line), names)

    for key, match in fields:
        if len(match[2]) > 200 or [k for k, _ in fields].count(key) > 1:
            continue
        if key in ("Requires-Python", "requires-python", "python_requires"):
            yield fact("requires_python", match, {})
        elif not (key == "License" and any(k == "License-Expression" for k, _ in fields)):
            yield fact("project_field", match, {"k": _WORDS.get(key, key)})
    wanted = [match[1].lower() for match in needed]
    for match in needed:
        if wanted.count(match[1].lower()) == 1:
            yield fact("dependency_version", match, {"p": match[1]})
    for match in entries:
        yield fact("entry_point", match, {"k": match[1]})


def _within(text: str, sections: tuple[str, ...], pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Matches in the sections of these names."""
    starts = [*_SECTION.finditer(text)]
    for i, section in enumerate(starts):
        if section[1].strip("[] ") in sections:
            end = starts[i + 1].start() if i + 1 < len(starts) else len(text)
            yield from pattern.finditer(text, section.end(), end)


def rendered_projects(metadata: str) -> Iterator[tuple[str, str]]:
    """(file name, text): the same facts as a pyproject.toml and a setup.cfg would state them.

    Installed packages come without these files; what is made here is for training only.
    """
    head = metadata.partition("\n\n")[0]
    given = {match[1]: match[2].strip() for match in _HEADER.finditer(head)}
    title = re.search(r"^Name: *(\S+)", head, re.M)
    needed = [f"{match[1]}{match[2]}" for match in _REQUIRES_DIST.finditer(head) if "extra" not in match[0]]
    if title is None or "Requires-Python" not in given:
        return
    licence = given.get("License-Expression", given.get("License", ""))
    rows = {"version": given.get("Version", ""), "description": given.get("Summary", ""), "license": licence}
    toml = ["[build-system]", 'requires = ["setuptools"]', "", "[project]", f'name = "{title[1]}"']
    toml += [f'{key} = "{value}"' for key, value in rows.items() if value and '"' not in value and len(value) < 120]
    toml += [f'requires-python = "{given["Requires-Python"]}"']
    toml += ["dependencies = [", *(f'    "{item}",' for item in needed), "]"] if needed else []
    yield "pyproject.toml", "\n".join(toml) + "\n"
    cfg = ["[metadata]", f"name = {title[1]}", *(f"{k} = {v}" for k, v in rows.items() if v and len(v) < 120), ""]
    cfg += ["[options]", f"python_requires = {given['Requires-Python']}"]
    cfg += ["install_requires =", *(f"    {item}" for item in needed)] if needed else []
    yield "setup.cfg", "\n".join(cfg) + "\n"
