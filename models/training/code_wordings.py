"""How people ask about functions: a fixed list of wordings for each kind of question.

{x} is what is asked about; {p} a parameter or attribute, {e} an exception. Every third wording is held out: it is never
trained on, and questions for evaluation are made of nothing else.
"""

from __future__ import annotations

from typing import Literal

from selfroute.models.training.code_wordings_more import MORE

Split = Literal["train", "heldout"]
HELD_OUT_EVERY = 3

FUNCTIONS = {
    "parameter_default": """
What is the default value of {p} in {x}?
default of {p} in {x}
What does {p} default to when calling {x}?
If I don't pass {p} to {x}, what value is used?
{x}: default for {p}?
In {x}, what is the default {p}?
Tell me the default value of the parameter {p} of {x}.
{x} {p} default
which value does {x} use for {p} when it is left out
Could you tell me what {p} is set to by default in {x}?
What is {p}'s default in the signature of {x}?
What is the value of the {p} argument of {x} if the caller omits it?
I call {x} without {p}. What do I get for it?
default value {p} {x}
When no {p} is given, {x} falls back to which value?
""",
    "parameter_type": """
What type does the {p} parameter of {x} have?
type of {p} in {x}
How is {p} annotated in {x}?
What is the type annotation of {p} in {x}?
{x}: type of the argument {p}?
Which type should I pass as {p} to {x}?
What type is expected for {p} by {x}?
In {x}, what's the type hint of {p}?
{x} {p} type
Please give me the annotation of the {p} argument in {x}.
what kind of value does {x} take for {p}, according to its annotation
What is {p} declared as in the signature of {x}?
""",
    "return_type": """
What is the return type of {x}?
return type of {x}
What type does {x} return?
Which type is {x} annotated to return?
{x}: return annotation?
what's the declared result type of {x}
Tell me the return annotation of {x}.
According to its signature, what does {x} give back?
{x} return type
What type of object comes back from {x}?
What is the type hint on the return value of {x}?
How is the return value of {x} annotated?
""",
    "parameters": """
What parameters does {x} take?
parameters of {x}
Which arguments does {x} accept?
What is the signature of {x}?
{x}: arguments?
What can I pass to {x}?
List the parameters of {x}.
Show me the argument list of {x}
{x} params
Could you tell me which parameters {x} is declared with?
what args does {x} have
What does the parameter list of {x} look like?
""",
    "returned": """
What does {x} return?
return value of {x}
What is returned by {x}?
Which expression does {x} return?
{x}: what does it return?
What value do I get back from {x}?
Show me what {x} returns.
what is the result of calling {x}
{x} returns what
Please tell me the return value of {x}.
What does a call of {x} evaluate to?
What comes out of {x}?
""",
    "raised": """
Which exception does {x} raise?
exceptions raised by {x}
What errors can {x} throw?
What exceptions are raised in {x}?
{x}: which exception?
What does {x} raise?
What kind of error does {x} raise?
Tell me which exceptions {x} may raise.
{x} raises
which error class gets raised inside {x}
If something goes wrong in {x}, which exception is raised?
Which exceptions should I catch around {x}?
""",
    "raise_condition": """
When does {x} raise {e}?
condition for {e} in {x}
Under which condition does {x} raise {e}?
What makes {x} raise {e}?
{x}: when is {e} raised?
What has to be true for {x} to throw {e}?
In which case is {e} raised by {x}?
What check in {x} leads to {e}?
why would {x} raise {e}
Tell me the condition under which {e} is raised in {x}.
{x} raises {e} if what?
What triggers {e} in {x}?
""",
    "error_message": """
What is the message of the {e} raised in {x}?
error message of {e} in {x}
What does the {e} from {x} say?
Which message does {x} raise {e} with?
{x}: text of the {e}?
What error text do I see when {x} raises {e}?
What message comes with {e} when it is raised by {x}?
Show me the error message that {x} gives with {e}.
{x} {e} message
what does {x} say when it raises {e}
Please quote the text of the {e} that {x} raises.
How is the {e} in {x} worded?
""",
    "decorators": """
Which decorators does {x} have?
decorators of {x}
What is {x} decorated with?
Which decorator is applied to {x}?
{x}: decorators?
What decorators are on {x}?
List the decorators of {x}.
how is {x} decorated
{x} decorator
Tell me which decorators are applied to {x}.
With what is {x} wrapped by decorator syntax?
What stands above the definition of {x} as a decorator?
""",
    "does": """
What does {x} do?
purpose of {x}
What is {x} for?
What is the purpose of {x}?
{x}: what does it do?
According to its docstring, what does {x} do?
Describe {x} in one sentence.
what's {x} good for
explain briefly what {x} does
Could you tell me what {x} does?
How does the documentation describe {x}?
What is {x} meant to do?
""",
    "function_that": """
Which function {d}?
name of the function that {d}
What is the function called that {d}?
Which method or function {d}?
What function {d}?
I am looking for a function which {d}.
Find the function that {d}.
which helper {d}
Is there a function that {d}? What is its name?
Please name the function or method that {d}.
what do I call if I want something that {d}
What's the name of the method that {d}?
""",
    "parameter_meaning": """
What does the parameter {p} of {x} mean?
meaning of {p} in {x}
What is {p} for in {x}?
What is the {p} argument of {x}?
{x}: what is {p}?
How is the {p} parameter of {x} documented?
What does {p} do in {x}?
Describe the parameter {p} of {x}.
{x} {p} meaning
What should I pass as {p} to {x}, according to the docs?
what's the {p} arg of {x} about
In the docstring of {x}, how is {p} described?
""",
    "environment_variable": """
Which environment variable does {x} read?
environment variables used by {x}
What environment variable is looked up in {x}?
Which env vars does {x} look at?
{x}: which environment variables?
What does {x} take from the environment?
What environment variables influence {x}?
Tell me the names of the environment variables that {x} checks.
{x} env var
which variable of the environment is consulted by {x}
On which environment variables does {x} depend?
What env variable do I have to set for {x}?
""",
    "config_key": """
Which configuration key does {x} read?
config keys used by {x}
What setting is looked up in {x}?
Which settings does {x} look at?
{x}: which config keys?
What does {x} take from the configuration?
Which options of the config influence {x}?
Tell me the keys that {x} reads from its settings.
{x} config key
which keys are looked up by {x} in the config
On which settings does {x} depend?
What configuration key is consulted by {x}?
""",
    "fallback": """
What does {x} use if {k} is missing from {w}?
default for {k} in {x}
What is the fallback for {k} in {x}?
Which value does {x} take when {w} has no {k}?
{x}: default of {k}?
What is used instead when {k} is not set, in {x}?
What is the default of {k} when {x} looks it up in {w}?
If {k} isn't in {w}, what does {x} assume?
{x} {k} fallback value
what value does {x} fall back to without {k}
Tell me the default that {x} passes when it gets {k} from {w}.
When {k} is absent, which value does {x} work with?
""",
    "defined_at": """
Where is {x} defined?
definition of {x}
In which place is {x} defined?
Where can I find {x}?
{x}: where is it defined?
Where is the definition of {x}?
Show me the line that defines {x}.
find the definition of {x}
where's {x} declared
Where in the code is {x}?
Please point me to the definition of {x}.
Which line introduces {x}?
""",
}

WORDINGS: dict[str, tuple[str, ...]] = {
    kind: tuple(lines.strip().splitlines()) for kind, lines in (FUNCTIONS | MORE).items()
}
KINDS = tuple(WORDINGS)


def wordings_of(kind: str, split: Split) -> list[tuple[str, str]]:
    """(id, wording) of one kind: every third is held out, by its place in the list."""
    held_out = split == "heldout"
    return [
        (f"{kind}.{i}", wording)
        for i, wording in enumerate(WORDINGS[kind])
        if (i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held_out
    ]
