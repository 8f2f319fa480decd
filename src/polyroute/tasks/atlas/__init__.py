"""A world where routing matters and nothing has to be downloaded.

Questions of several hops, and candidates that each know a part: `AtlasSmall` is a fictional world
whose facts change with every episode, `Atlas` asks for real ones. The pool (names, skills, prices,
error rates) is drawn anew per episode too, so a policy can only do well by reading the cards.
"""
