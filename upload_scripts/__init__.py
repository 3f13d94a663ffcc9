"""What a maintainer runs: import the competition's models, build the published folder, check it, publish it; the demo."""
