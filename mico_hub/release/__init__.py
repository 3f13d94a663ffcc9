"""What a suite is on disk, and what of it is public: the format, folders, checkpoints, disclosure, commitments."""
