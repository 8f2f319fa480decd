"""Measures of a router, one file per source; pure functions of arrays.

The one decision here: a measure takes outcomes per question, never a router, so that every measure
of a report comes from the same run, and a check by hand needs a table of four rows.

Shapes: N questions, M models, K settings of a router's cost knob.
"""
