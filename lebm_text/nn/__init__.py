"""Layers shared by the generator and the LSTM judge. Imports torch alone."""
