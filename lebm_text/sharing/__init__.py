"""Runs that others can use: on the Hugging Face Hub, each with a card that says what it is."""
