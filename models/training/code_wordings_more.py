"""How people ask about classes, constants, options, imports and projects; the rest of code_wordings.

{x} is what is asked about; {p} an attribute or a dependency, {m} a file, {k} a field or command, {d} a description.
"""

from __future__ import annotations

MORE = {
    "constant": """
What is the value of {x}?
value of {x}
What is {x} set to?
Which value does the constant {x} have?
{x}: value?
What does {x} hold?
Tell me the value of {x}.
what's {x} equal to
{x} =
What value is assigned to {x}?
Please show me how {x} is set.
To what is {x} initialised?
""",
    "class_attribute": """
What is the value of the class attribute {p} of {x}?
value of {p} in {x}
What is {p} set to in the class {x}?
What is the default of {p} on {x}?
{x}: value of {p}?
Which value does {x} give to {p} in its body?
Which value does {p} have in {x}?
what's {x}.{p}
{x} {p} value
What does the class {x} define {p} as?
Tell me the value of {p} on the class {x}.
What is assigned to {p} in the body of {x}?
""",
    "attribute_type": """
What type does the field {p} of {x} have?
type of the attribute {p} in {x}
How is {p} annotated in the class {x}?
What is the type annotation of the field {p} of {x}?
{x}: type of the field {p}?
Which type is the attribute {p} of {x} declared with?
What type is the attribute {p} of {x}?
what's the type hint of {p} on {x}
{x} field {p} type
Please give me the declared type of {p} in the class {x}.
As what is the field {p} of {x} typed?
Which annotation does {x} put on its field {p}?
""",
    "instance_attribute": """
What is self.{p} initialised to in {x}?
initial value of self.{p} in {x}
What does the constructor of {x} set self.{p} to?
What is {p} initially on a new {x}?
{x}: what is self.{p} set to in __init__?
Which value does {x} give {p} when it is created?
With which value does {x} start its attribute {p}?
what does {x}.__init__ assign to self.{p}
{x} self.{p} init
Tell me what the attribute {p} of {x} is initialised with.
When a {x} is constructed, what is stored in {p}?
What is assigned to {p} in the initialiser of {x}?
""",
    "bases": """
What are the base classes of {x}?
base classes of {x}
What does {x} inherit from?
Which class does {x} inherit from?
{x}: base classes?
What is the parent class of {x}?
Which classes does {x} extend?
what does {x} subclass
{x} superclass
Tell me the bases of the class {x}.
From what is {x} derived?
On which classes is {x} based?
""",
    "methods": """
Which methods does {x} have?
methods of {x}
What methods does the class {x} define?
List the public methods of {x}.
{x}: methods?
Which public methods does {x} define?
What can I call on {x}?
Show all methods of the class {x}
{x} methods list
Please list every public method defined in {x}.
what are the methods on {x}
Which functions does the class {x} offer?
""",
    "enum_members": """
Which members does the enum {x} have?
members of {x}
What values can {x} take?
List the members of {x}.
{x}: members?
What are the names in the enumeration {x}?
Which options does {x} enumerate?
Show all the members of {x}
{x} enum values
Please list every member of the enum {x}.
what's in the enum {x}
Of which members does {x} consist?
""",
    "class_that": """
Which class {d}?
name of the class that {d}
What is the class called that {d}?
Which type {d}?
What class {d}?
I am looking for a class which {d}.
Find the class that {d}.
which object {d}
Is there a class that {d}? What is its name?
""",
    "option_default": """
What is the default of the command line option {x}?
default of {x}
What value does {x} have when it is not given on the command line?
What does {x} default to?
{x}: default?
Which default does the option {x} have?
If I run it without {x}, which value is used?
{x} option default value
what's the default for the flag {x}
Tell me what {x} is by default.
Which value is taken for {x} if it's not passed?
By default, what is {x} set to?
""",
    "option_help": """
What does the option {x} do?
meaning of {x}
What is the command line flag {x} for?
What is {x} for?
{x}: what does this flag do?
How does the help text describe {x}?
What happens with {x} on the command line?
{x} help text
what's the effect of the {x} switch
Describe the command line option {x}.
Please explain the flag {x}.
What does passing {x} do?
""",
    "option_for": """
Which command line option is described as "{d}"?
option described as: {d}
Which flag has the help text "{d}"?
Which flag does this: {d}?
command line flag: {d}
Which switch stands for: {d}
What is the name of the option for: {d}?
which command line argument: {d}
I need the option with this effect: {d}.
""",
    "option_short": """
What is the short form of {x}?
short flag for {x}
What is the one-letter version of {x}?
Which short option stands for {x}?
{x}: short form?
Is there an abbreviation of the option {x}?
How can I abbreviate {x} on the command line?
{x} short option
what's the single-letter flag for {x}
""",
    "imported_from": """
Where does {m} import {x} from?
source of the import {x} in {m}
From which module is {x} imported in {m}?
Which module does {x} come from in {m}?
{m}: where does {x} come from?
Which module provides {x} to {m}?
In {m}, from where is {x} imported?
{m} import of {x}
what does {m} import {x} from
Tell me the module that {m} imports {x} from.
{x} as used in {m}: which module is it imported from?
Out of which module does {m} get {x}?
""",
    "requires_python": """
Which Python version does {x} require?
python version required by {x}
What is the minimum Python version for {x}?
What Python versions does {x} support?
{x}: required Python?
On which Python does {x} run?
Which versions of Python can I install {x} on?
{x} requires-python
what python do i need for {x}
Tell me the Python requirement of {x}.
How is requires-python set for {x}?
What version of the interpreter does {x} need?
""",
    "project_field": """
What is the {k} of the project {x}?
{k} of {x}
What {k} does the package {x} have?
Which {k} is given in the metadata of {x}?
{x}: {k}?
What does {x} state as its {k}?
Tell me the {k} of the package {x}.
what's the {k} of {x}
{x} {k}
In the project metadata of {x}, what is the {k}?
Which {k} does {x} declare?
Please look up the {k} of {x}.
""",
    "dependency_version": """
Which version of {p} does {x} require?
{p} version required by {x}
What version constraint does {x} put on {p}?
Which {p} version does {x} need?
{x}: version of {p}?
How is {p} pinned by {x}?
What is the version requirement of {x} for {p}?
{x} {p} requirement
what version of {p} does {x} depend on
Tell me the version range of {p} that {x} depends on.
Which versions of {p} are compatible with {x}?
What {p} version has to be installed for {x}?
""",
    "entry_point": """
What does the command {k} of {x} run?
entry point of {k} in {x}
Which function is behind the {k} command of {x}?
Which function does the console script {k} call?
{x}: entry point of the script {k}?
To what does the script {k} of {x} point?
What is the entry point of the command {k}?
{k} console script target
what gets called when I type {k}
""",
}
