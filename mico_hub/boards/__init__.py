"""Where attacks are ranked in public: open boards on known truth, and exports to platforms that keep truth hidden."""
