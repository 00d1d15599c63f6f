"""Prompts of a store on vLLM: a plugin that puts a prefix where a request's placeholders stand.

`asked`, `guard`, `settings`, `requirements`, `prefixes` and `placing` know nothing of vLLM; `plugin`, `admission`,
`connector`, its two sides and `metrics` are what vLLM calls.
"""
