"""From the texts of a request to the chunks of its responses."""
