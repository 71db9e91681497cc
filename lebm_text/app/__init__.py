"""The local web page of `lebm-text explore`, to try out a model."""
