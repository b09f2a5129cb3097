"""Whether a question may be relational at all: a look that costs microseconds, before the graph is loaded."""

from __future__ import annotations

import re

# Beginnings of every word that the ways of asking (ways.py) hang on.
_WORDS = re.compile(
    r"\b(?:call|invo|us[eai]|trigger|execut|exercis|run|refer|inherit|exten|deriv|desc|sub|super|child|parent|bas[ei]"
    r"|ancest|mro|implement|special|conform|satisf|overr|re-?implement|redefin|import|pull|load|depend|requir|includ"
    r"|br(?:ing|ought|eak|oken)|affect|impact|ripple|fallout|blast|consequen|side|chang|modif|remov|delet|renam|touch"
    r"|edit|alter|drop|method|member|function|attrib|propert|class|defin|content|path|chain|route|way|connect|link"
    r"|reach|lead|end|arriv|get|flow|com|relat|instan|construct|creat|delegat|rel[yi]|hand|need|heir|built|sit"
    r"|direct|mak|made|incoming|inbound|outgoing|outbound|rais|throw|catch|caught|sourc|embed|concrete|adapt|adjust|update"
    r"|fix|risk|safe|danger)",
    re.IGNORECASE,
)


def may_be_relational(text: str) -> bool:
    """False of a question that no way of asking fits."""
    return bool(_WORDS.search(text))
