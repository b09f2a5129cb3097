"""The ways in which people ask for a relation, one a line, as patterns over a question whose names are X0 and X1.

Words in capitals stand for the alternatives below; groups do not capture; a line begins and ends at the border of a
word. The first way that a question holds says its relation, so the order matters: "what does X0 inherit from" is asked
of bases before "inherit from X0" is of subclasses.
"""

from __future__ import annotations

import re

CALLERS, CALLEES = "callers", "callees"
SUBCLASSES, BASES, OVERRIDES, MEMBERS = "subclasses", "bases", "overrides", "members"
IMPORTERS, IMPORTS = "importers", "imports"
IMPACT, PATH = "impact", "path"

_WORDS = {
    "AUX": "(does|do|did|will|would|can|could|may|might|should)",
    "BE": "((is|are|was|gets?|be|being|been|got) )?",
    "ADV": "((directly|actually|really|internally|itself|ever|also|even|currently|in turn|under the hood|eventually"
    "|immediately|explicitly|get|gets|then) )*",
    "ASKS": "(who|what|which|where|whence|list|show|find|name|give|tell|enumerate|locate|all|every|any|anything|anyone"
    "|everything|somebody|someone|i want|i need|need)",
    "CALLVERB": "(call|invoke|trigger|execute|exercise|use|run|delegate to|rely on|hand over to|make use of)",
    "CALLS": "(calls?|calling|invokes?|invoking|triggers?|triggering|executes?|exercises?|uses?|using|runs?"
    "|makes? use of|making use of|reach(es)? for|raises?|raising|throws?)",
    "CALLED": "(called|invoked|triggered|executed|exercised|used|run|referenced|referred to|needed|raised|thrown)",
    "CALLERS": "(callers?|call[ -]?(sites?|ers?)|calling (code|functions?|places?|sites?|locations?)|usages?|uses"
    "|users?|references?|invocations?|calls?|call locations?|incoming calls?|inbound calls?)",
    "CALLEES": "(callees?|outgoing calls?|outbound calls?|called functions)",
    "INHERIT": "(inherit(s|ed|ing)?|extend(s|ed|ing)?|deriv(e|es|ed|ing)|descend(s|ed|ing)?|subclass(es|ed|ing)?"
    "|embed(s|ded|ding)?)",
    "PARENTS": "((base|parent|super|ancestor)[ -]?(class(es)?|types?)|bases|parents?|ancestors?|mro|superclass(es)?"
    "|supertypes?)",
    "CHILDREN": "((sub|child|derived|descendant)[ -]?(class(es)?|types?)|children|descendants?|derivatives"
    "|implementations?|implementers?|implementors?|implementing class(es)?|speciali[sz]ations?|heirs|subtypes?)",
    "SATISFY": r"(implements?|implementing|speciali[sz]\w+|conforms? to|satisf\w+)",
    "PULLS": "(imports?|importing|pulls? in|pulling in|loads?|depends? on|requires?|includes?|sources?|brings? in)",
    "PULLED": "(imported|pulled in|loaded|required|brought in)",
    "IMPORTERS": "(importers?|imports?|import(ing)? (sites?|statements?|lines?|locations?|places?|modules?|files?"
    "|code))",
    "BREAK": "(breaks?|broken|affect(s|ed)?|impact(s|ed)?|ripple|fallout|blast radius|consequences?|side effects?)",
    "CHANGE": r"(chang|modif|remov|delet|renam|touch|edit|alter|drop)\w*",
    "MEMBERS": "(methods|members|functions|attributes|classes|properties|definitions|contents)",
    "INSIDE": "(in|inside|within|inside of|in the body of|within the body of|from within|from inside)",
    "W3": r"(\w+ ){0,3}",
}

_WAYS = (
    (
        CALLERS,
        r"""
        X0\b.*\b(calls|callers|call sites|usages|callsites)\b.*\b(update|change|adapt|fix|touch|adjust|edit|break)
        """,
    ),
    (
        PATH,
        r"""
        from X0 (down |all the way |through )?(in)?to X1
        how AUX X0 ADV(reach|get to|lead to|end up (in|at|calling)|arrive at|go to|flow (in)?to|call|come to) X1
        (path|chain|route|way|connection|link|calls?)s? (between|from) X0 (and|to) X1
        AUX X0 ADV(reach|lead to|end up in) X1
        how is X0 (reached|called|connected|related) (from|by|to|with) X1
        """,
    ),
    (
        IMPACT,
        r"""
        BREAK\b.*\bX0
        X0\b.*\bBREAK
        if (i|we|you|someone) (\w+ )?CHANGE X0
        (safe|risky|dangerous) to CHANGE X0
        CHANGE X0\b.*\b(safe|happen|else|update)
        (who|what|which \w+|everything that|anything that) (relies|rely|depends?) (up)?on X0(?!.*\bimport)
        depend(s|ents|encies|ing)? (of|on) (the )?X0(?!.*\bimport)
        X0'?s? dependents
        """,
    ),
    (
        OVERRIDES,
        r"""
        (overrid\w*|re-?implement\w*|redefin\w*) W3X0
        overrid(es?|ers?|ing|den)\b.*\bX0
        X0 BEADV(overridden|reimplemented|redefined)
        """,
    ),
    (
        BASES,
        r"""
        AUX X0 ADVINHERIT
        (is|are|was) X0 ADV(a |an )?INHERIT( from| of)?\W*$
        X0 ADV(inherits?|extends?|derives?|descends?|is derived|is a subclass)( from| of)? (what|which)
        PARENTS( \w+){0,2} (of|for|behind|does|above) (class )?X0
        X0('s)? ADV(direct |immediate |declared )*PARENTS
        X0 INHERIT from\W*$
        that X0 ADVINHERIT
        """,
    ),
    (
        SUBCLASSES,
        r"""
        INHERIT( directly)?( from| of| by)? X0
        CHILDREN( \w+){0,2} (of|for|from|to) X0
        X0('s)? ADV(direct |immediate |concrete |known )*CHILDREN
        X0 BEADV(inherited|extended|subclassed|implemented|speciali[sz]ed|derived)( from)?
        (who|what|which|all|every|any|list|find|show|name|anything that|everything that) (\w+ ){0,3}SATISFY X0
        (with|have|has|having|name|names|list|lists) X0 (as|among|in) .*(base|parent|super)
        X0 as (its|their|a|the|one of (its|their)) (\w+ )?(base|parent|super|ancestor)\w*
        (built on top of|based on|sits? (under|below)|directly (under|below)) X0
        """,
    ),
    (
        IMPORTS,
        r"""
        AUX X0 ADV(import|pull in|depend on|load|require|include|bring in)
        PULLED (by|in|into|inside) X0
        that X0 ADVPULLS
        X0 imports\W*$
        X0 imports (what|which)
        (dependencies (of|in)|imports (in|inside|at the top of)) X0
        X0's (imports|dependencies)
        """,
    ),
    (
        IMPORTERS,
        r"""
        PULLS( \w+){0,3} X0
        PULLS (\w+ ){0,4}(from|of|out of) X0
        IMPORTERS (\w+ ){0,2}(of|for|naming|mentioning|that \w+) X0
        X0('s)? ADVBEADV(imported|importers?|pulled in|brought in|import sites?)
        import(s|ed|ing|ers?)?\b.*\bX0
        X0\b.*\bimport(s|ed|ing|ers?)?
        """,
    ),
    (
        CALLEES,
        r"""
        AUX X0 ADVCALLVERB(?! X1)
        (what|which) W3X0 ADV(depends? on|relies on) ADVto run
        (calls?|CALLED|invocations) ADV((made|done|issued|that happen|happening|occurring|found) )?(by|from|INSIDE) X0
        CALLEES( \w+){0,2} (of|from|for|in) X0
        X0('s)? CALLEES
        X0('s)? calls\W*$
        (that|which|what|functions|methods|things|everything) X0 ADV(calls?|invokes?|uses?|triggers?|executes?)
        (that|which|what|functions|methods|things|everything) X0 ADV(runs?|makes|delegates to|relies on)
        X0 ADV(calls?|invokes?|triggers?|uses?) (what|which)
        INSIDE X0\b.*\b(called|invoked|calls are|get called)
        (called|invoked|call|calls)\b.*\bINSIDE X0
        """,
    ),
    (
        MEMBERS,
        r"""
        MEMBERS (\w+ )?AUX X0 ADV(have|define|provide|expose|offer|contain|declare)
        MEMBERS ((are )?(defined|declared) )?(of|in|on|inside|by) X0
        X0'?s? (methods|members|attributes|properties)
        """,
    ),
    (
        CALLERS,
        r"""
        CALLERS( \w+){0,2} (of|to|for|into|on) X0
        X0('s)? (direct )?(callers?|call[ -]?sites?|usages?|references|invocations|incoming calls?)
        ASKS\b.*\bCALLS X0
        (places|functions|code|methods|call ?sites|lines)\b.*\bCALLS X0
        (who|whom|which|what|where|list|show|find|locate|every|all|places?|lines?|spots?)\b.*\bX0 ADVBEADVCALLED
        (where|who|which|what|list|show|find)\b.*\b(is|are|gets?|do|does) ADVX0 ADV(get |gets |being )?CALLED
        X0 (is |gets |get )?CALLED (by|from|in) (what|which|whom|who|where)
        calls? (are made |made |go(es)? |going |is made )?(in)?to X0
        (instantiat|construct|creat)\w* (\w+ ){0,2}X0
        X0 BEADV(instantiated|constructed|created)
        instances? of X0\b.*\b(made|created|constructed)
        """,
    ),
)


def _pattern(way: str) -> re.Pattern[str]:
    spelled = re.sub("|".join(sorted(_WORDS, key=len, reverse=True)), lambda found: _WORDS[found[0]], way)
    # words may stand for words
    spelled = re.sub("|".join(sorted(_WORDS, key=len, reverse=True)), lambda found: _WORDS[found[0]], spelled)
    uncaptured = re.sub(r"(?<!\\)\((?!\?)", "(?:", spelled)
    return re.compile(rf"\b{uncaptured}(?!\w)")


WAYS = tuple((relation, _pattern(way.strip())) for relation, ways in _WAYS for way in ways.strip().split("\n"))
