"""Asks questions of a folder and shows the answers with their citations.

python examples/ask_a_repository.py ~/code/flask "Where is the session cookie signed?"
"""

import argparse

from selfroute import SelfRouter


def main() -> None:
    """Opens or builds the index, then answers each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="folder to ask")
    parser.add_argument("questions", nargs="+", metavar="question")
    args = parser.parse_args()

    with SelfRouter.from_path(args.path) as router:
        for question in args.questions:
            answer = router.ask(question)
            print(f"Q: {question}")
            print(answer)
            for citation in answer.citations:
                print(f"  at {citation.location}")
            print(f"  by {answer.route}, {answer.usage.prompt_tokens:,} tokens: {answer.decision.reason}\n")


if __name__ == "__main__":
    main()
