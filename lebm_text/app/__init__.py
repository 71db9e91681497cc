"""The local web page to play with a model: `lebm-text explore`."""
