"""What requests and answers look like: OpenAI's, with vLLM's additions where OpenAI has no word for it."""
