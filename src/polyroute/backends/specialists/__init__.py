"""Specialists: tools that answer short questions of one field from real data, or say nothing.

Each module has one function ``answer(question) -> str | None`` and one table of question kinds;
its docstring lists them. Precision comes first: a name that is unknown, or that could mean two
things, is not answered. Answers are short (a number, a name, a date), never depend on the clock,
and are worded so that another specialist can take them up: a number has no unit (the docstring
says which it is in) and no thousands separator.
"""
