"""The evidence reader: what it quotes for each kind of question, and when it declines."""

from __future__ import annotations

import random

import pytest

from selfroute.models.base import Reader
from selfroute.models.evidence import MIN_CONFIDENCE, EvidenceReader
from selfroute.models.quoting import MAX_LINES, MAX_SPANS
from selfroute.models.sentences import Role, units
from selfroute.types import Chunk, Generation

CLIENT = '''\
class MailClient(Connection):
    """Sends messages over one connection."""

    default_port = 2525

    def __init__(self, host, port=None, timeout=30,
                 retries=2):
        self.host = host
        self.timeout = timeout
'''
SEND = '''\
    def send_message(self, message):
        """Deliver one message and wait until the server has taken it.

        The connection is opened when it is not there yet.
        """
        if not message.recipients:
            raise NoRecipients("nobody to send to: %r" % message.subject)
        signed = self.signer.sign(message)
        return Receipt(signed.id, self.host)
'''
LIMITS = """\
# In bytes of length. Servers cut longer ones, so that we refuse them early.
MAX_SUBJECT = 998
MAXLINE = 65536

__all__ = [
    'MailClient',
    'NoRecipients',
]
"""
GUIDE = """\
Mail is queued on disk first. A queue that was cut short is read up to its last whole entry, e.g. after a crash. \
Nothing is ever sent twice.

Entries older than a week are dropped."""
TESTS = """\
def test_send_message_refuses_a_message_without_recipients():
    with pytest.raises(NoRecipients):
        client.send_message(Message([]))
"""


def chunk(path: str, text: str, *, line: int = 1, symbol: str = "", kind: str = "lines") -> Chunk:
    return Chunk(f"{path}:{line}", text, path, line, line + text.count("\n"), text, symbol, kind, len(text) // 4)


CORPUS = [
    chunk("docs/queue.md", GUIDE, symbol="Queue", kind="section"),
    chunk("mail/client.py", CLIENT, line=10, symbol="MailClient", kind="class"),
    chunk("mail/client.py", SEND, line=20, symbol="MailClient.send_message", kind="method"),
    chunk("mail/limits.py", LIMITS),
    chunk("tests/test_client.py", TESTS, symbol="test_send_message_refuses_a_message_without_recipients"),
]


def ask(question: str, chunks: list[Chunk] = CORPUS) -> Generation:
    return EvidenceReader().read(question, chunks)


def first_quote(question: str, chunks: list[Chunk] = CORPUS) -> tuple[str, str]:
    generation = ask(question, chunks)
    assert generation.answerable, question
    span = generation.spans[0]
    return chunks[span.chunk].path, chunks[span.chunk].text[span.start : span.end]


@pytest.mark.parametrize(
    ("question", "path", "quote"),
    [
        ("Where is MailClient defined?", "mail/client.py", "class MailClient(Connection):"),
        ("Which class does MailClient inherit from?", "mail/client.py", "class MailClient(Connection):"),
        ("What is the default port of the mail client?", "mail/client.py", "    default_port = 2525"),
        ("What does send_message return?", "mail/client.py", "        return Receipt(signed.id, self.host)"),
        ("What is the maximum length of a line?", "mail/limits.py", "MAXLINE = 65536"),
        ("Where is the message signed?", "mail/client.py", "        signed = self.signer.sign(message)"),
        ("Which error is raised when there is nobody to send to?", "mail/client.py", "raise NoRecipients("),
        ("What does MailClient.send_message do?", "mail/client.py", "Deliver one message and wait until"),
        ("What is the default timeout?", "mail/client.py", "def __init__(self, host, port=None, timeout=30,"),
        ("Is anything sent twice?", "docs/queue.md", "Nothing is ever sent twice."),
        ("What happens to entries older than a week?", "docs/queue.md", "Entries older than a week are dropped."),
    ],
)
def test_the_line_that_answers_is_quoted_first(question: str, path: str, quote: str) -> None:
    found = first_quote(question)

    assert found[0] == path
    assert quote in found[1]


def test_a_statement_is_quoted_to_its_closing_bracket() -> None:
    assert first_quote("What is the default timeout?")[1] == (
        "    def __init__(self, host, port=None, timeout=30,\n                 retries=2):"
    )


def test_a_sentence_of_prose_is_quoted_whole_and_alone() -> None:
    assert first_quote("What is read when a queue was cut short?")[1] == (
        "A queue that was cut short is read up to its last whole entry, e.g. after a crash."
    )


def test_tests_give_way_to_the_code_they_test_unless_the_question_is_about_tests() -> None:
    assert first_quote("When does send_message raise NoRecipients?")[0] == "mail/client.py"
    assert first_quote("Which test checks that send_message refuses recipients?")[0] == "tests/test_client.py"


def test_words_are_found_in_other_forms_and_short_forms() -> None:
    chunks = [chunk("app/settings.py", "def load_cfg(directory):\n    authenticator = make_auth(directory)\n")]

    assert first_quote("How is the configuration loaded?", chunks)[1] == "def load_cfg(directory):"
    assert "make_auth" in first_quote("Where is authentication created?", chunks)[1]


@pytest.mark.parametrize("asked", ["WebSocket", "web socket", "websocket", "web_socket"])
def test_a_compound_name_is_found_however_it_is_written(asked: str) -> None:
    for written in ("WebSocket", "websocket", "web_socket"):
        chunks = [chunk("a.py", f"x = 1\nopen_{written}(url)\n")]
        assert first_quote(f"Where is the {asked} opened?", chunks)[1] == f"open_{written}(url)"


def test_a_question_about_something_else_is_declined() -> None:
    for question in ("How does the kubernetes operator reconcile?", "Where is the GraphQL schema stitched?"):
        generation = ask(question)
        assert (generation.answerable, generation.finish, generation.text, generation.spans) == (
            False,
            "declined",
            "",
            (),
        )
        assert generation.confidence < MIN_CONFIDENCE


@pytest.mark.parametrize("question", ["", "   ", "?!", "\n\t", "。"])
def test_a_question_without_words_is_declined(question: str) -> None:
    assert not ask(question).answerable


def test_nothing_to_read_is_declined() -> None:
    assert not EvidenceReader().read("Where is MailClient defined?", []).answerable


def test_a_question_of_100_000_characters_is_answered_in_time() -> None:
    generation = ask("Where is MailClient defined? " + "where is what " * 7_000)

    assert len(generation.text.splitlines()) <= MAX_LINES


def test_a_question_in_other_letters_is_answered() -> None:
    chunks = [chunk("leer.txt", "Первый абзац о другом.\n\nКлючи хранятся в сейфе.", kind="text")]
    assert first_quote("Где хранятся ключи?", chunks)[1] == "Ключи хранятся в сейфе."

    chunks = [chunk("doc.md", "今日は天気がいい。秘密鍵は金庫に保管されている。", kind="text")]
    assert first_quote("秘密鍵は保管されている", chunks)[1] == "秘密鍵は金庫に保管されている。"


def test_spans_cover_whole_lines_of_code_and_few_of_them() -> None:
    for question in ("Where is MailClient defined?", "What does send_message return?", "message", "client"):
        generation = ask(question)
        assert len(generation.spans) <= MAX_SPANS
        assert sum(1 + CORPUS[s.chunk].text.count("\n", s.start, s.end) for s in generation.spans) <= MAX_LINES
        for span in generation.spans:
            text = CORPUS[span.chunk].text
            if CORPUS[span.chunk].kind != "section":
                assert span.start == 0 or text[span.start - 1] == "\n"
                assert text[span.end : span.end + 1] in ("", "\n")


def test_carriage_returns_stay_outside_of_the_quote() -> None:
    chunks = [chunk("a.py", "import os\r\nLIMIT = 7\r\nname = 'x'\r\n")]

    assert first_quote("What is the value of LIMIT?", chunks)[1] == "LIMIT = 7"


def test_the_answer_is_its_quotes_without_their_common_indentation() -> None:
    assert ask("Where is the message signed?").text.splitlines()[0] == "signed = self.signer.sign(message)"


def test_reading_again_gives_the_same_answer() -> None:
    assert ask("Where is the message signed?") == ask("Where is the message signed?")


def test_of_two_equal_lines_the_better_hit_is_quoted() -> None:
    a, b = chunk("b.py", "limit = 3\n"), chunk("a.py", "limit = 4\n")

    assert first_quote("What is the limit?", [a, b])[1] == "limit = 3"
    assert first_quote("What is the limit?", [b, a])[1] == "limit = 4"


def test_the_rarity_of_the_corpus_decides_what_must_be_there() -> None:
    weights = {"bucket": 0.1, "message": 6.0, "sign": 6.0}
    question = "Where is the bucket message signed?"

    assert (
        ask(question).confidence < EvidenceReader(lambda term: weights.get(term, 0.2)).read(question, CORPUS).confidence
    )


def test_adversarial_lines_are_read() -> None:
    lines = ["a " * 3_000, "(" * 5_000, "x=1, " * 2_000, "class a" * 1_000, '"""' * 2_001, "a,\n" * 2_000, " " * 20_000]
    chunks = [chunk(f"{i}.py", f"needle {line}\n{line} needle\n{line}") for i, line in enumerate(lines)]
    chunks += [chunk(f"{i}.md", f"needle {line}. {line} needle", kind="text") for i, line in enumerate(lines)]
    ask("Where is the needle?", chunks)


def test_a_large_corpus_is_read() -> None:
    rng = random.Random(7)
    words = [f"{a}_{b}{n}" for a in ("load", "store", "parse") for b in ("page", "row", "file") for n in range(200)]
    chunks = [
        chunk(f"pkg/m{i}.py", "\n".join(f"{rng.choice(words)} = {rng.choice(words)}({n})" for n in range(15)))
        for i in range(4_000)
    ]
    chunks[3_210] = chunk(
        "pkg/needle.py", "def page_of_secret_needle(row):\n    return row.needle\n", symbol="page_of_secret_needle"
    )
    found = first_quote("Where is the secret needle?", chunks)

    assert found == ("pkg/needle.py", "def page_of_secret_needle(row):")


def test_lines_are_told_by_the_part_they_play() -> None:
    text = (
        'def fetch(url, retries=3):\n    """Get a page.\n\n    Follows redirects.\n    """\n    # first\n    # second\n'
        "    if not url:\n        raise ValueError(url)\n    return _get(url)\n\nimport os\n"
        "# Most tries\n# of all\nLIMIT = 3\n    'name',\n"
    )
    roles = [unit.role for unit in units(chunk("a.py", text))]

    assert roles[0] == Role.DEFINITION | Role.ASSIGNMENT | Role.LITERAL | Role.NUMBER
    assert roles[1] == Role.COMMENT | Role.SUMMARY
    assert roles[3] == Role.COMMENT
    assert roles[5] == roles[6] == Role.COMMENT
    assert roles[7] == Role.CONDITION
    assert roles[8] == Role.RAISE
    assert roles[9] == Role.RETURN
    assert roles[10] == Role.EMPTY
    assert roles[11] == Role.IMPORT
    assert roles[12:14] == [Role.COMMENT | Role.SUMMARY, Role.COMMENT]
    assert roles[14] == Role.ASSIGNMENT | Role.LITERAL | Role.NUMBER
    assert roles[15] == Role.NAME_ONLY


def test_a_chunk_that_begins_inside_a_docstring_is_read_as_one() -> None:
    text = 'the rest of what it returns.\n"""\nreturn 1\n\nNAME = """a\nb"""\n'

    assert [unit.role for unit in units(chunk("a.py", text))] == [
        Role.COMMENT,
        Role.EMPTY | Role.COMMENT,
        Role.RETURN,
        Role.EMPTY,
        Role.ASSIGNMENT | Role.LITERAL,
        Role.COMMENT,
    ]


def test_a_docstring_that_opens_on_a_line_of_its_own_is_quoted_with_its_definition() -> None:
    text = 'def flush(force):\n    """\n    Empty the spool folder.\n\n    Waits.\n    """\n    spool.clear(force)\n'
    chunks = [chunk("a.py", text, symbol="flush", kind="function")]

    assert first_quote("What does flush do?", chunks)[1] == 'def flush(force):\n    """\n    Empty the spool folder.'


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("export async function loadPage(url) {", "loadPage"),
        ("func (s *Server) Serve(l net.Listener) error {", "Serve"),
        ("pub(crate) fn parse_line(line: &str) -> Line {", "parse_line"),
        ("    public static Page load(String url) throws IOException {", "load"),
        ("static int read_page(const char *url)", "read_page"),
        ("  def self.load(url)", "load"),
        ("suspend fun fetchPage(url: String): Page {", "fetchPage"),
        ("pub struct Page {", "Page"),
    ],
)
def test_definitions_of_other_languages_are_recognised(line: str, name: str) -> None:
    unit = units(chunk("a", line))[0]

    assert Role.DEFINITION in unit.role
    assert unit.names[0] == name


def test_the_reader_is_a_reader() -> None:
    assert isinstance(EvidenceReader(), Reader)
