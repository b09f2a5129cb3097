"""Cited files: of the files that a reference answer names, how many are among the files of the top hits?

    python benchmarks/cited_files.py --swe-qa FILE.jsonl --corpus DIR [--top-k 10]

FILE holds {question, answer} a line; a file counts as cited when its path, or an ending of it of at least two parts
(or a name that only one file of the corpus has), stands in the answer. Cases whose answer cites no file of the corpus
are left out and counted. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

from selfroute import SelfRouter

_PATH = re.compile(
    r"[\w.-]+(?:/[\w.-]+)*\.(?:py|pyx|js|ts|go|rs|java|c|h|cpp|md|rst|toml|cfg|ini|yaml|yml|json|html|css)\b"
)


def cited(answer: str, files: list[str]) -> set[str]:
    """Files of the corpus that the answer names."""
    found = set()
    for mention in set(_PATH.findall(answer)):
        ends = [f for f in files if f == mention or f.endswith("/" + mention) or mention.endswith("/" + f)]
        if len(ends) == 1 or ("/" in mention and ends):
            found.update(ends)
    return found


def main() -> None:
    """Measures and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swe-qa", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--top-k", type=int, default=10)
    args = parser.parse_args()
    if not (args.swe_qa.is_file() and args.corpus.is_dir()):
        print(f"skipped: {args.swe_qa} or {args.corpus} is absent", file=sys.stderr)
        print(json.dumps({}))
        return
    cases = [json.loads(line) for line in args.swe_qa.read_text().splitlines() if line.strip()]
    with tempfile.TemporaryDirectory() as store, SelfRouter.from_path(args.corpus, index_dir=store) as router:
        files = sorted({chunk.path.partition("#")[0] for chunk in router.index.chunks()})
        recalls, any_found, uncited = [], 0, 0
        for case in cases:
            gold = cited(case["answer"], files)
            if not gold:
                uncited += 1
                continue
            top = {hit.chunk.path.partition("#")[0] for hit in router.search(case["question"], top_k=args.top_k)}
            recalls.append(len(gold & top) / len(gold))
            any_found += bool(gold & top)
    n = len(recalls)
    print(
        json.dumps(
            {
                "cited_file_recall": round(statistics.mean(recalls), 4) if n else None,
                "any_cited_found": round(any_found / n, 4) if n else None,
                "n": n,
                "cites_no_file": uncited,
                "top_k": args.top_k,
            }
        )
    )


if __name__ == "__main__":
    main()
