"""From suite folders to the published dataset: one `datasets` builder per track, with a config per suite."""
