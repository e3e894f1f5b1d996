"""What every simulation shares: how its program is started, watched and ended."""
