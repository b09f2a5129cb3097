"""Which questions ask for an explanation, and which for a fact that one quote gives."""

import pytest

from selfroute.models.explaining import asks_to_explain

EXPLANATIONS = """
How does the session cookie get signed?
how does session signing work
How do blueprints work?
how is the request context pushed
how are nested routes resolved?
hwo does the router match a path
how dose caching work
how the cache works
How can a plugin replace the default loader?
how would one add a new backend
How should errors be handled inside of a middleware?
how to write a plugin for the linter
so how does it decide which file to read?
In Flask, how does url_for build an address?
how exactly does `Index.update` avoid reading files twice
How does the base wrapper class propagate compilation failures through its pipeline?
Why does the store use one transaction per file?
why is the cache cleared on reload
why not keep the vectors in memory
wy does it retry
Why are tests run in random order?
What is the reason for the second lock?
is there a reason why the pool is bounded
What happens when the connection drops?
what happens if two writers update the same file
waht happens when a chunk is too long
what would happen without the lock
What goes on when a page is evicted
what exactly happens during start up
Explain how the scheduler picks the next task
explain the retry logic
explian the retry logic
can you explain what the keeper does with a damaged file
Please explain to me the ranking
walk me through a search
Walk me through what the parser does, step by step
Describe the life cycle of a request
please describe how hits are merged
tell me about the masking of secrets
What is the role of the keeper in recovery?
what role does the snapshot play in searching?
What is the relationship between Index and Snapshot?
whats the relation between a chunk and a hit
what is the relashionship between store and index
What is the mechanism that keeps citations true?
what mechanism prevents two processes from writing at once
What is the difference between a chunk and a page?
what's the difference between `run` and `start`
What effect does a larger budget have on the answer?
what is the impact of changing the tokenizer on the index
What is the rationale behind masking secrets early?
What is the dependency chain between the lexer and the parser?
what are the implications of reading with update off
what determines the order of hits
What makes the index recover after a crash?
what leads to an escalation
what ensures that ids stay the same
In what way does the policy learn?
in which ways can a reader decline
By what mechanism is the lock released?
how do the reader and the router interact
what goes on under the hood of an update
how come the first search is slow
What process does a document go through before it is searchable?
What architectural responsibility does the packer have?
What is the flow of data from a file to an answer
"""

FACTS = """
What is the default timeout of connect?
what is the default value of top_k
default of max_retries?
Which exception does read_document raise for a missing file?
What exception is thrown when the index is locked
Where is Session.send defined?
where is the cookie signed
Which file defines the Keeper class?
in which module does RetryPolicy live
Who founded the company?
who wrote the first version
When was the treaty signed?
When is the lock released?
What does the parameter timeout do?
what does the `force` argument of write_all do
What does make_response return?
what type does load return
What is the purpose of Session.close?
What does write_all do?
How many retries are made?
how many files were indexed
How much memory does the cache take?
How long is a token valid?
how often is the index checked
how large may a file be
How old was she when she moved?
how far is the station from the harbour
How is the flag annotated?
how is timeout annotated in connect
How is `size` spelled in the configuration
how is write_all decorated?
What is the signature of connect?
what arguments does connect take
Which parameters does open accept?
What is the name of the default policy?
what version of python is required
Which port does the server listen on?
What is the value of MAX_LINES?
What is the capital of the province?
What is Flask?
what is a blueprint
Is the index thread safe?
Does the reader write prose?
does connect retry
Can a policy decline?
Which class inherits from Store?
who calls Session.send
what calls make_response
list all subclasses of Base
what does Session.send call
Describe the parameter size of CookieJar.
Explain the argument `strict` of open
Describe connect in one sentence.
explain briefly what write_all does
In one word, what is it made of?
What is written to standard error?
Name the function that reads a file
which environment variable sets the budget
What is the process id stored in?
what is the error message for an unknown route
How does the documentation describe connect?
why would connect raise TimeoutError
What colour is the hull?
Which river flows through the town?
return type of parse?
MAX_LINES
session cookie
"""


def _lines(text: str) -> list[str]:
    return text.strip().split("\n")


@pytest.mark.parametrize("question", _lines(EXPLANATIONS))
def test_a_question_that_asks_for_an_explanation_is_taken(question: str) -> None:
    assert asks_to_explain(question)


@pytest.mark.parametrize("question", _lines(FACTS))
def test_a_question_that_asks_for_a_fact_is_not_taken(question: str) -> None:
    assert not asks_to_explain(question)


@pytest.mark.parametrize("question", ["", "?", "   ", "¿por qué?", "为什么", "x" * 100_000, "how " * 30_000])
def test_what_is_no_english_question_is_not_taken_and_takes_no_time(question: str) -> None:
    assert not asks_to_explain(question)


def test_names_of_code_do_not_decide() -> None:
    assert not asks_to_explain("where is explain_plan defined?")
    assert not asks_to_explain("where is `why` set?")
    assert asks_to_explain("how does `default_timeout` come into it when a socket is slow")
