"""Asks a file of questions under several policies and compares what they cost.

python examples/route_a_batch.py ~/code/flask questions.txt --policy rules --policy always-long-context
"""

import argparse
from pathlib import Path

from selfroute import SelfRouter


def main() -> None:
    """One line a question and policy, then one line a policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="folder to ask")
    parser.add_argument("questions", type=Path, help="a file with one question a line")
    parser.add_argument("--policy", action="append", help="a policy's name; may be repeated")
    args = parser.parse_args()
    questions = [line.strip() for line in args.questions.read_text(encoding="utf-8").splitlines() if line.strip()]

    for policy in args.policy or ["rules", "always-retrieval", "always-long-context"]:
        with SelfRouter.from_path(args.path, policy=policy) as router:
            answers = [router.ask(question) for question in questions]
        for question, answer in zip(questions, answers, strict=True):
            place = answer.citations[0].location if answer.citations else "-"
            print(f"{policy}\t{answer.route}\t{place}\t{question}")
        tokens = sum(answer.usage.prompt_tokens for answer in answers)
        answered = sum(answer.answerable for answer in answers)
        print(f"{policy}: answered {answered} of {len(answers)}, read {tokens:,} tokens\n")


if __name__ == "__main__":
    main()
