"""The forms in which clients ask and are answered, one file each."""
