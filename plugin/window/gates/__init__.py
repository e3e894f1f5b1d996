"""Gates that an analysis passes before the model goes on from it."""
