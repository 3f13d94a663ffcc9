"""What a maintainer runs: import the competition's models, build, check and publish the published folder; the demo."""
