"""The same episodes under verl, on many machines: its settings, its rows, its agent loop.

``settings`` says our setting in verl's words, ``rows`` our problems in its rows, ``served`` carries
out the router model's turns on a server that takes tokens and gives tokens, ``written`` puts the
files of a run in a folder. All of that needs no verl. ``_agent_loop`` is the one module that does:
verl's workers import it, and nothing here.
"""
