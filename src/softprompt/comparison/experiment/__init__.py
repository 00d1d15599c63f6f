"""What all methods of a comparison share: settings, data splits, task and base model."""
