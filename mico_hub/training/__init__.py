"""Training: accounting, sampling, gradients, DP-SGD for several models side by side, and what is missing of a suite."""
