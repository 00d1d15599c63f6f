"""Record sources: read records from files, folders and the Hub. This package knows no task."""
