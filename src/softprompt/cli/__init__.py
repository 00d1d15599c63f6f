"""The command line: parses arguments, calls the library, prints results.

Each command imports the library inside its function: importing torch and transformers takes seconds, and `--help` must be
fast.
"""
