"""Answers the questions in a notebook about a folder, and writes them into a copy of it, each below its question.

python examples/answer_a_notebook.py [PATH] [NOTEBOOK] [--out FILE]

A question is a line of a markdown cell, or a comment of a code cell, that ends with a question mark. Cells that this
script wrote before are replaced, so a notebook can be answered again when the folder has changed. A copy that lies in
PATH is indexed as any file is, and would answer for itself the next time: name it in .selfrouteignore then.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from selfroute import Answer, SelfRouter

HERE = Path(__file__).resolve().parent
MINE = "selfroute"  # the key in the metadata of the cells that are written here
Cell = dict[str, Any]


def text_of(cell: Cell) -> str:
    """A cell's source, which may be one text or a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def questions_of(cell: Cell) -> list[str]:
    """The questions that stand in a cell."""
    lines = [line.strip() for line in text_of(cell).splitlines()]
    if cell["cell_type"] == "code":
        lines = [line for line in lines if line.startswith("#")]
    elif cell["cell_type"] != "markdown":
        lines = []
    return [line.lstrip("#-*> \t") for line in lines if line.endswith("?")]


def written(question: str, answer: Answer) -> str:
    """An answer as markdown; what was quoted stands in a fence, so that it is shown as it is."""
    fence = "```"
    while fence in answer.text:
        fence += "`"
    used = answer.usage
    cost = f"{used.prompt_tokens:,} tokens" + (f", ${used.dollars:.4f}" if used.dollars else "")
    places = [f"- `{citation.location}`" for citation in answer.citations]
    about = f"{answer.route}: {answer.decision.reason}; {cost}"
    return "\n".join([f"**{question}**", "", fence, answer.text, fence, *places, "", f"*{about}*"])


def answered(cells: list[Cell], router: SelfRouter, minor: int) -> list[Cell]:
    """The cells with a cell behind each question. minor: of the notebook's format; since 4.5 cells have ids."""
    made: list[Cell] = []
    for cell in cells:
        if MINE in cell.get("metadata", {}):
            continue
        made.append(cell)
        for question in questions_of(cell):
            answer = router.ask(question)
            print(f"{question}\n  {answer.text.splitlines()[0]}")
            print(f"  {answer.route}, {answer.usage.prompt_tokens:,} tokens: {answer.decision.reason}")
            for citation in answer.citations:
                print(f"  at {citation.location}")
            own = {"route": answer.route, "confidence": answer.confidence, "answerable": answer.answerable}
            new: Cell = {"cell_type": "markdown", "metadata": {MINE: own}, "source": written(question, answer)}
            made.append({**new, "id": f"selfroute-{len(made)}"} if minor >= 5 else new)
    return made


def main() -> None:
    """Reads, asks, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=HERE.parent / "memory", help="folder to ask")
    parser.add_argument("notebook", nargs="?", type=Path, default=HERE / "questions.ipynb", help="where questions are")
    parser.add_argument("--out", type=Path, help="beside the notebook by default, with -answered behind its name")
    args = parser.parse_args()
    out = args.out or args.notebook.with_name(f"{args.notebook.stem}-answered.ipynb")
    notebook = json.loads(args.notebook.read_text(encoding="utf-8"))
    with SelfRouter.from_path(args.path) as router:
        notebook["cells"] = answered(notebook["cells"], router, notebook.get("nbformat_minor", 0))
    out.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {out}")


if __name__ == "__main__":
    main()
