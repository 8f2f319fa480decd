"""The OpenAI-compatible server (extra ``[serve]``). Nothing is imported until it is asked for."""
