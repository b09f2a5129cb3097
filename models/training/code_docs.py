"""Facts that docstrings state: what a thing does, and what its parameters mean (Sphinx, Google and numpy styles)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from selfroute.models.training.code_facts import Fact, name_span
from selfroute.models.training.code_source import MAX_ANSWER, Defined, Offsets, Source, arguments_of

_OPENING = re.compile(r"""[rRuU]{0,2}(?:\"{3}|'{3}|"|')\s*""")
_SENTENCE_END = re.compile(r"(?<=[\w)`'\"\]])[.!?](?=\s|$)")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n|\n[ \t]*(?:[:@*>-]|\.\. |[A-Z][a-z]+:[ \t]*\n)")
_SPHINX = re.compile(r"^[ \t]*:param(?:eter)?[ \t]+(?:[^:\n]*?[ \t*])?\\?\*{0,2}(\w+):[ \t]*", re.M)
_GOOGLE_SECTION = re.compile(r"^([ \t]*)(?:Args|Arguments|Parameters|Keyword Args|Keyword Arguments):[ \t]*\n", re.M)
_GOOGLE = re.compile(r"^([ \t]+)\*{0,2}(\w+)[ \t]*(?:\([^)\n]*\))?:[ \t]*(?:\n[ \t]+)?", re.M)
_NUMPY_SECTION = re.compile(r"^([ \t]*)(?:Parameters|Other Parameters)[ \t]*\n[ \t]*-{3,}[ \t]*\n", re.M)
_NUMPY = re.compile(r"^([ \t]*)(\w+)(?:[ \t]*:[^\n]*)?\n(?=\1[ \t]+\S)", re.M)
_NOT_PROSE = re.compile(r">>>|\.\. |::|\bTODO\b|\\|http")
# Verbs that docstrings begin with; a sentence that begins otherwise ("Exception raised when ...") is no description.
VERBS = frozenset(
    """
    accept access acquire activate adapt add adjust advance align allocate allow analyze append apply approximate
    arrange assemble assert assign attach attempt authenticate bind block broadcast build cache calculate call cancel
    cast change check choose clean clear clip clone close collapse collect combine compare compile complete compose
    compress compute concatenate configure confirm connect construct consume contain convert copy count create
    customize cut deactivate decide declare decode decompress decorate decrypt define delete deliver describe
    deserialize detach detect determine disable discard disconnect dispatch display divide download drop dump
    duplicate emit emulate enable encode encrypt end enforce ensure enter enumerate equip erase escape establish
    estimate evaluate examine execute exit expand explain export expose extend extract factor feed fetch fill filter
    finalize find finish fit flag flatten flush fold follow force forget format forward free freeze generate get give
    grab group guess handle hash hide highlight hold identify ignore implement import increment indent indicate infer
    inform inherit initialize inject insert inspect install instantiate integrate interpret intersect invert invoke
    issue iterate join keep launch let limit list listen load locate lock log look lookup make manage manipulate map
    mark mask match measure merge migrate minimize mix modify monitor move multiply normalize note notify obtain offer
    omit open optimize order output override pack pad parse partition paste patch pause peek perform permute pick
    place plot poll pop populate post predict prefix prepare prepend present preserve prevent print probe process
    produce prompt propagate protect prove provide prune publish pull push put query queue quote raise randomize read
    receive recognize record recover redirect reduce refresh register release reload remove rename render repeat
    replace report represent request require reserve reset reshape resize resolve respond restore restrict resume
    retrieve retry return reverse rewrite roll rotate round run sample save scale scan schedule scroll search select
    send separate serialize serve set shift show shuffle shut signal simplify simulate skip sleep slice solve sort
    specify split spawn squeeze stack start stop store stream strip submit subtract suggest support suppress swap
    switch synchronize take tell terminate test throw tokenize toggle trace track train transfer transform translate
    transpose traverse trigger trim truncate try turn undo unescape unify unlock unpack unregister unwrap update
    upgrade upload use validate verify visit wait walk warn weight wrap write yield zip
    """.split()
)
_ES = ("s", "x", "z", "ch", "sh", "o")


def docstring_facts(source: Source, defined: Defined) -> Iterator[Fact]:
    """The first sentence, the name that it describes, and the parameters."""
    span = docstring_span(source, defined)
    if span is None:
        return
    of = "class" if isinstance(defined.node, ast.ClassDef) else "function"
    sentence = first_sentence(source, span)
    if sentence and len(source.of(sentence).split()) >= 3:
        yield Fact("does", defined.name, of, (sentence,), defined.lines)
        described = description(" ".join(source.of(sentence).split()), defined.node.name)
        if described:
            place = name_span(source, defined.node)
            yield Fact(f"{of}_that", defined.name, "text", (place,), defined.lines, {"d": described})
    function = defined.node
    if isinstance(function, ast.ClassDef):
        starts = [n for n in function.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if len(starts) != 1:
            return
        function = starts[0]
    known = {argument.arg for argument, _ in arguments_of(function)} - {"self", "cls"}
    found: dict[str, list[Offsets]] = {}
    for name, place in parameter_spans(source, span):
        found.setdefault(name, []).append(place)
    for name in sorted(known & set(found)):
        if len(found[name]) == 1:
            yield Fact("parameter_meaning", defined.name, of, tuple(found[name]), defined.lines, {"p": name})


def docstring_span(source: Source, defined: Defined) -> Offsets | None:
    """The inside of the docstring, without its quotes and the blanks around it."""
    body = defined.node.body
    if ast.get_docstring(defined.node) is None or not isinstance(body[0], ast.Expr):
        return None
    start, end = source.span(body[0].value)
    opening = _OPENING.match(source.text, start, end)
    if opening is None:
        return None
    quotes = 3 if source.text[start:end].lstrip("rRuU")[:3] in ('"""', "'''") else 1
    inner = source.text[opening.end() : end - quotes]
    if "\\" in inner:  # what is written is not what is meant
        return None
    return opening.end(), opening.end() + len(inner.rstrip())


def first_sentence(source: Source, span: Offsets) -> Offsets | None:
    """The first sentence, over at most two lines, without its full stop."""
    start, end = span
    if stop := _PARAGRAPH_END.search(source.text, start, end):
        end = stop.start()
    if stop := _SENTENCE_END.search(source.text, start, end):
        end = stop.start()
    text = source.text[start:end].rstrip().rstrip(".:")
    good = text and len(text) <= MAX_ANSWER and text.count("\n") <= 1 and not _NOT_PROSE.search(text)
    return (start, start + len(text)) if good else None


def parameter_spans(source: Source, span: Offsets) -> Iterator[tuple[str, Offsets]]:
    """(name, first sentence of its description) of each documented parameter."""
    text = source.text
    for match in _SPHINX.finditer(text, *span):
        indent = len(match[0]) - len(match[0].lstrip())
        yield from _described(source, match[1], match.end(), span[1], indent)
    for section in _GOOGLE_SECTION.finditer(text, *span):
        first = _GOOGLE.match(text, section.end(), span[1])
        if first is None or len(first[1]) <= len(section[1]):
            continue
        for match in _GOOGLE.finditer(text, section.end(), _section_end(text, section.end(), span[1], len(first[1]))):
            if match[1] == first[1]:
                yield from _described(source, match[2], match.end(), span[1], len(first[1]))
    for section in _NUMPY_SECTION.finditer(text, *span):
        for match in _NUMPY.finditer(text, section.end(), _section_end(text, section.end(), span[1], len(section[1]))):
            if match[1] == section[1]:
                start = match.end() + len(re.match(r"[ \t]*", text[match.end() :])[0])  # type: ignore[index]
                yield from _described(source, match[2], start, span[1], len(section[1]))


def _section_end(text: str, start: int, end: int, indent: int) -> int:
    """Where a line begins that is indented less, or a heading that is underlined."""
    stop = re.compile(rf"^(?:[ \t]{{0,{max(indent - 1, 0)}}}\S|[ \t]*\w+[ \t]*\n[ \t]*---)", re.M)
    if indent == 0:
        stop = re.compile(r"^[ \t]*\w+[ \t]*\n[ \t]*---", re.M)
    found = stop.search(text, start, end)
    return found.start() if found else end


def _described(source: Source, name: str, start: int, end: int, indent: int) -> Iterator[tuple[str, Offsets]]:
    """The description from start on: its first sentence, and lines that are indented further as long as it goes on."""
    lines = source.text[start:end].split("\n")
    kept = [lines[0]]
    for line in lines[1:]:
        if not line.strip() or len(line) - len(line.lstrip()) <= indent:
            break
        kept.append(line)
    text = "\n".join(kept)
    if stop := _SENTENCE_END.search(text):
        text = text[: stop.start()]
    start += len(text) - len(text.lstrip())
    text = text.strip().rstrip(".")
    if len(text.split()) >= 2 and len(text) <= MAX_ANSWER and text.count("\n") <= 1 and not _NOT_PROSE.search(text):
        yield name, (start, start + len(text))


def description(sentence: str, name: str) -> str:
    """A docstring's sentence as it follows "which function": "Return the length" -> "returns the length"; or "".

    Empty when it names the function itself, or does not read as a description.
    """
    words = sentence.rstrip(".").split()
    said = re.sub(r"[^a-z]", "", sentence.lower())
    if not 4 <= len(words) <= 25 or re.sub(r"[^a-z]", "", name.lower()) in said or not words[0].isalpha():
        return ""
    first = words[0].lower()
    if not words[0][0].isupper() or words[0].isupper():
        return ""
    if first in VERBS:
        if first.endswith("y") and first[-2] not in "aeiou":
            first = first[:-1] + "ies"
        else:
            first += "es" if first.endswith(_ES) else "s"
    elif not (first.removesuffix("s") in VERBS or first.removesuffix("es") in VERBS):
        return ""
    return " ".join([first, *words[1:]])
