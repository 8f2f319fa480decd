"""Where finished traces go: into a chain of records that can be verified and replayed."""
