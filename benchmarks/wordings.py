"""How relational questions are worded: a fixed list for each kind, cut in two halves that share no wording.

TUNE is for whoever works on the search, REPORT for the figures. {x} is the name that is asked about.
"""

from __future__ import annotations

TUNE: dict[str, tuple[str, ...]] = {
    "callers": (
        "Who calls {x}?",
        "Which functions call {x}?",
        "Where is {x} called?",
        "callers of {x}",
        "Find all call sites of {x}",
        "Show me every place that calls {x}.",
        "What code ends up invoking {x}?",
        "List the places where {x} gets invoked",
        "I want to change the signature of {x}; which calls would I have to update?",
        "Could you point me to the code that calls {x}?",
    ),
    "callees": (
        "What does {x} call?",
        "Which functions does {x} call?",
        "List everything that {x} calls",
        "callees of {x}",
        "What functions are called by {x}?",
        "Show the functions invoked inside {x}.",
        "In the body of {x}, which of our own functions are called?",
        "Can you tell me which methods {x} invokes?",
        "{x}: what does it call?",
        "Which other code does {x} call into?",
    ),
    "subclasses": (
        "Which classes inherit from {x}?",
        "subclasses of {x}",
        "What are the subclasses of {x}?",
        "Which classes extend {x}?",
        "Find the classes derived from {x}",
        "What inherits directly from {x}?",
        "Is {x} subclassed anywhere, and by what?",
        "List all direct children of the class {x}.",
        "Show me who extends {x}",
        "Which classes have {x} as a base class?",
    ),
    "importers": (
        "Who imports {x}?",
        "Which modules import {x}?",
        "Where is {x} imported?",
        "importers of {x}",
        "Find all imports of {x}",
        "List the files that import {x}.",
        "Which files depend on {x} through an import?",
        "Show me the import statements that bring in {x}",
        "In which modules is {x} being imported?",
        "I am moving {x}: which import lines need to change?",
    ),
}

REPORT: dict[str, tuple[str, ...]] = {
    "callers": (
        "What calls {x}?",
        "From where is {x} called?",
        "Which parts of the code call {x}?",
        "{x} call sites",
        "Show the callers of {x}",
        "Please find every call to {x}.",
        "Where does {x} get invoked?",
        "Give me all the lines that call {x}",
        "Who is calling {x}, and where?",
        "By which functions is {x} called?",
        "If I rename {x}, which calls break?",
        "where do we call {x}",
    ),
    "callees": (
        "Which functions are invoked by {x}?",
        "What is called from {x}?",
        "Show what {x} calls",
        "functions called in {x}",
        "{x} callees",
        "Please list the functions and methods that {x} calls.",
        "What does {x} call internally?",
        "When {x} runs, which functions does it invoke directly?",
        "Tell me the outgoing calls of {x}",
        "What gets called inside {x}?",
        "Which functions and classes does {x} make calls to?",
        "what all does {x} call out to",
    ),
    "subclasses": (
        "What subclasses {x}?",
        "Which classes derive from {x}?",
        "Show every class that inherits {x}",
        "{x} subclasses",
        "By which classes is {x} extended?",
        "Please list the direct subclasses of {x}.",
        "What classes are based on {x}?",
        "Where is {x} subclassed?",
        "Which child classes does {x} have?",
        "Who inherits from {x}?",
        "classes extending {x}",
        "If I change {x}, which classes inherit the change directly?",
    ),
    "importers": (
        "What imports {x}?",
        "Which files import {x}?",
        "From which places is {x} imported?",
        "{x} importers",
        "imports of {x}",
        "Show every module importing {x}",
        "Please tell me where {x} gets imported.",
        "By which modules is {x} imported?",
        "Where do we import {x}?",
        "Give me all lines that import {x}",
        "Who pulls in {x} with an import?",
        "Which parts of the package import {x}?",
    ),
}

SETS = {"tune": TUNE, "report": REPORT}
KINDS = tuple(REPORT)
