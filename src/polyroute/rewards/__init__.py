"""What a finished episode is worth to the policy that is trained: format, outcome, cost.

Everything is computed from the trace: what the policy itself wrote are the replies to its own
routes, and nothing that a candidate said can change what the policy is blamed for.
"""
