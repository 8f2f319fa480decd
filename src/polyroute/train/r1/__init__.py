"""Train a model that routes over several rounds: teacher traces, then reinforcement learning."""
