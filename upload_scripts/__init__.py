"""What a maintainer runs: train a suite, build the published folder, try it all."""
