"""The command line. Thin: parse, call, print.

Every command imports what it calls when it is called: torch and transformers take seconds, which --help must not.
"""
