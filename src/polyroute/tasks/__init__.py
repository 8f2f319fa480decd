"""Problems to train and to compare routers on; one task per module, found by name."""
