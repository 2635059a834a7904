"""Graph to StableHLO to an executable."""
