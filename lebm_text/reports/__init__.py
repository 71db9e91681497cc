"""Looking at trained models and at runs."""
