"""The local web page for exploring a model: `lebm-text explore`."""
