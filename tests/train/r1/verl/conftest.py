"""`with_verl.py` runs in an environment of its own."""

collect_ignore = ["with_verl.py"]
