"""The language of a file: by its whole name, then its extension, then its `#!` line."""

from __future__ import annotations

import re

# A language and the extensions, without the dot, that mean it. Unknown text is "": it is read as lines.
_EXTENSIONS = {
    "asciidoc": "adoc asciidoc",
    "bash": "sh bash zsh ksh bats",
    "batch": "bat cmd",
    "c": "c h",
    "clojure": "clj cljs cljc edn",
    "cmake": "cmake",
    "cpp": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp inl cu cuh ino",
    "csharp": "cs csx",
    "css": "css",
    "csv": "csv tsv",
    "cython": "pyx pxd pxi",
    "dart": "dart",
    "diff": "diff patch",
    "dockerfile": "dockerfile",
    "elixir": "ex exs",
    "elm": "elm",
    "erlang": "erl hrl",
    "fortran": "f f77 f90 f95 f03 f08 for",
    "fsharp": "fs fsi fsx",
    "go": "go",
    "graphql": "graphql gql",
    "groovy": "groovy gradle",
    "haskell": "hs lhs",
    "html": "html htm xhtml vue svelte astro jinja jinja2 j2 hbs mustache ejs erb twig njk",
    "ini": "ini cfg conf properties editorconfig service desktop",
    "java": "java",
    "javascript": "js mjs cjs jsx",
    "json": "json jsonc json5 jsonl ndjson geojson webmanifest avsc",
    "julia": "jl",
    "kotlin": "kt kts",
    "latex": "tex sty cls bib",
    "less": "less",
    "lisp": "el lisp lsp cl scm ss rkt",
    "lua": "lua",
    "makefile": "mk mak make",
    "markdown": "md markdown mdx mkd mdown qmd rmd",
    "nim": "nim",
    "nix": "nix",
    "objc": "m mm",
    "ocaml": "ml mli",
    "org": "org",
    "perl": "pl pm t",
    "php": "php phtml php5 php7 phps",
    "powershell": "ps1 psm1 psd1",
    "proto": "proto",
    "python": "py pyi pyw bzl star",
    "r": "r",
    "rst": "rst rest",
    "ruby": "rb rake gemspec ru podspec jbuilder",
    "rust": "rs",
    "scala": "scala sc sbt",
    "scss": "scss sass",
    "solidity": "sol",
    "sql": "sql",
    "swift": "swift",
    "terraform": "tf hcl",
    "text": "txt text log",
    "toml": "toml",
    "tsx": "tsx",
    "typescript": "ts mts cts",
    "xml": "xml xsd xsl xslt svg plist csproj vbproj fsproj props targets resx xaml wsdl",
    "yaml": "yaml yml",
    "zig": "zig",
}
_NAMES = {
    "bash": ".bashrc .bash_profile .profile .zshrc PKGBUILD APKBUILD",
    "cmake": "CMakeLists.txt",
    "dockerfile": "Dockerfile Containerfile",
    "go": "go.mod go.work",
    "groovy": "Jenkinsfile",
    "ini": ".editorconfig .gitconfig .flake8 .coveragerc .pylintrc pylintrc",
    "json": ".babelrc .eslintrc .prettierrc",
    "makefile": "Makefile makefile GNUmakefile justfile Justfile",
    "python": "SConstruct SConscript wscript BUILD BUILD.bazel WORKSPACE Tiltfile",
    "ruby": "Gemfile Rakefile Vagrantfile Podfile Fastfile Guardfile Capfile Brewfile",
    "text": "LICENSE LICENCE COPYING NOTICE AUTHORS CONTRIBUTORS README CHANGELOG CHANGES HISTORY NEWS TODO INSTALL"
    " VERSION MAINTAINERS CODEOWNERS THANKS",
    "toml": "Pipfile",
}
_INTERPRETERS = {
    "bash": "sh bash zsh dash ksh ash bats",
    "groovy": "groovy",
    "javascript": "node nodejs bun",
    "lua": "lua luajit",
    "makefile": "make",
    "perl": "perl",
    "php": "php",
    "python": "python pypy uv",
    "r": "Rscript",
    "ruby": "ruby jruby rake",
    "swift": "swift",
    "typescript": "deno ts-node tsx",
}


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: language for language, words in table.items() for word in words.split()}


_BY_EXTENSION = _by_word(_EXTENSIONS)
_BY_NAME = _by_word(_NAMES)
_BY_INTERPRETER = _by_word(_INTERPRETERS)
_SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*(?:\S*/)?)?([A-Za-z_-]+)")


def detect_language(path: str, first_line: str = "") -> str:
    """ "python", "markdown", ... or "" when neither the name nor a `#!` in first_line tells."""
    name = path.rpartition("/")[2]
    if language := _BY_NAME.get(name):
        return language
    stem, _, extension = name.rpartition(".")
    if stem and (language := _BY_EXTENSION.get(extension.lower())):
        return language
    if name.startswith(("Dockerfile.", "Containerfile.")):
        return "dockerfile"
    if name.startswith("Makefile."):
        return "makefile"
    shebang = _SHEBANG.match(first_line.lstrip("\ufeff")) if "#!" in first_line[:3] else None
    return _BY_INTERPRETER.get(shebang[1].rstrip("-"), "") if shebang else ""
