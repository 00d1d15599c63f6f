"""Tests of the client for language models behind APIs."""
