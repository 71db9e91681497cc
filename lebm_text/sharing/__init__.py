"""Sharing of runs on the Hugging Face Hub, each with a model card."""
