"""What each primitive becomes in StableHLO: one file a family."""
