"""Words that name the same thing in questions and in code: short forms and everyday verbs, by their stems.

Judged by hand to hold in any code base; nothing in it was fitted to questions.
"""

from __future__ import annotations

from collections.abc import Mapping

from selfroute.models.lexing import terms_of

_GROUPS = """
arg args argument arguments parameter param params
app application
async asynchronous
attr attribute property
auth authentication authorization credentials
authenticate login
bytes binary
cfg conf config configuration configure settings
cmd command
cls class
conn connection connect
copy clone duplicate
create make build new
ctx context
db database
del delete remove unlink discard drop
desc description
dest destination target
dir directory folder
doc docs documentation
dump dumps serialize serialization
elem element item
env environment
err error exception exc
exec execute run
expr expression
ext extension suffix
filename path
fmt format formatter
func fn function
hash digest
header hdr
id identifier
idx index
impl implementation
info information
init initialise initialize constructor
iter iterator iterate loop
kwargs keyword
lang language
len length size
lib library
load loads parse deserialize decode
loc location position pos offset
log logger logging
lookup find search
max maximum largest most limit
mem memory
min minimum smallest least
msg message
nonexistent missing absent
num number count
obj object
opt option options
pkg package
prev previous
proc process
pwd password passwd
quit exit stop close shutdown
raise throw
recv receive
ref reference
regex regexp pattern
rename move
repo repository
req request
res resp response
ret return
rollback revert undo
sep separator delimiter
sess session
skip ignore
spec specification
src source
start begin
stmt statement
str string text
sync synchronous
temp tmp temporary
tls ssl https
tok token
truncate cut shorten
url uri address
val value
validate check verify
var variable
ver version
write save store persist
"""


def _table() -> Mapping[str, frozenset[str]]:
    groups = [frozenset(terms_of(word)[0] for word in line.split()) for line in _GROUPS.strip().splitlines()]
    table: dict[str, set[str]] = {}
    for group in groups:
        for term in group:
            table.setdefault(term, set()).update(group - {term})
    return {term: frozenset(others) for term, others in table.items()}


SYNONYMS = _table()
"""A stemmed term to the stemmed terms that may stand for it; symmetric."""

# What the stems of one family may end in after their common beginning (signer, signature, sign; delimiter, delimit).
_ENDINGS = frozenset(
    "e er or ur atur i y ion ment abl ibl al ant anc ent enc is ist ism iz ness ful tion ter ther t s d".split()
) | {""}
_MIN_SHARED = 4


def are_kin(one: str, other: str) -> bool:
    """Whether two stems look like forms of one word: `signer` and `signatur`, `handl` and `handler`."""
    n_shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n_shared += 1
    return n_shared >= _MIN_SHARED and one[n_shared:] in _ENDINGS and other[n_shared:] in _ENDINGS
