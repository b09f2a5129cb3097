"""Makes questions about the Python of a folder, compares policies on them, and trains the router on the answers.

python examples/evaluate_and_train.py [PATH] [--n 60] [--reader span] [--out DIR]

It does what you would do by hand with questions of your own: a file of cases, `selfroute eval` for several policies,
its verdict, `selfroute router train`, `selfroute router show`. The questions are read off the syntax tree, so that what
is right is known. Nothing is written in PATH: the trained router lies in the folder of the run. Without --index-dir in
the last two commands it is the one that `selfroute ask --policy learned` uses for PATH from then on.
"""

import argparse
import ast
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

from selfroute.router.cli import main as selfroute

HERE = Path(__file__).resolve().parent.parent / "backends"
POLICIES = "rules,self-route,learned-cascade,always-retrieval,always-long-context,oracle"
BUDGET = 250  # tokens that retrieval packs: a folder this small would fit the usual budget whole
Case = dict[str, object]


def values(path: str, tree: ast.Module) -> Iterator[Case]:
    """What a constant of a module is."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if name.isupper() and isinstance(value, ast.Constant) and str(value.value).strip():
                yield {"question": f"What is the value of {name}?", "answers": [str(value.value)], "kind": "value"}


def places(path: str, tree: ast.Module) -> Iterator[Case]:
    """Where a class or function is, asked in the words of its docstring: no name to search for."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (said := ast.get_docstring(node)):
            words = said.partition("\n")[0].rstrip(".")
            yield {"question": f"Where is this done: {words}?", "gold_files": [path], "kind": "place"}


def defaults(path: str, tree: ast.Module) -> Iterator[Case]:
    """What an argument is when it is not given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            named = [*zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            for argument, value in named:
                if isinstance(value, ast.Constant) and isinstance(value.value, int | str) and str(value.value).strip():
                    question = f"What is {argument.arg} of {node.name} unless it is given?"
                    yield {"question": question, "answers": [str(value.value)], "kind": "default"}


def nowhere(path: str, tree: ast.Module) -> Iterator[Case]:
    """What there is not: a name of the module with a word behind it."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield {"question": f"What does {node.name}_submarine return?", "unanswerable": True, "kind": "nowhere"}


def make_cases(root: Path, n: int) -> list[Case]:
    """At most n cases, the kinds in turn; the same ones for the same files."""
    files = {str(file.relative_to(root)): file for file in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(file.read_text(encoding="utf-8")) for path, file in files.items()}
    kinds = [
        [c for path, tree in trees.items() for c in make(path, tree)] for make in (values, places, defaults, nowhere)
    ]
    found = [case for case in chain.from_iterable(zip_longest(*kinds)) if case]
    once = {str(case["question"]): case for case in found}
    return [{"id": f"q{i}", "budget_tokens": BUDGET, **case} for i, case in enumerate(list(once.values())[:n], 1)]


def call(*words: str) -> None:
    """One command, with the line itself; ends the script where it fails."""
    print(f"$ selfroute {shlex.join(words)}", flush=True)
    if code := selfroute(list(words)):
        sys.exit(code)
    print(flush=True)


def main() -> None:
    """Cases, their evaluation, training, and what is in use afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=HERE, help="folder of Python files")
    parser.add_argument("--n", type=int, default=60, help="the most questions")
    parser.add_argument("--reader", default="evidence", help="span answers better and takes longer")
    parser.add_argument("--out", type=Path, help="where the questions and the run are kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        cases = make_cases(args.path, args.n)
        file, run, index = out / "questions.jsonl", out / "run", out / "index"
        file.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
        print(f"{len(cases)} questions, among them:")
        for kind in dict.fromkeys(str(case["kind"]) for case in cases):
            print(f"  {kind}: {next(case['question'] for case in cases if case['kind'] == kind)}")
        print(flush=True)
        path = ["--path", str(args.path)]
        call("eval", str(file), *path, "--out", str(run), "--policy", POLICIES, "--reader", args.reader)
        call("router", "train", str(run), *path, "--index-dir", str(index))
        call("router", "show", *path, "--index-dir", str(index))


if __name__ == "__main__":
    main()
