"""Record formats: normalize the fields of records for a task. This package knows no file format."""
