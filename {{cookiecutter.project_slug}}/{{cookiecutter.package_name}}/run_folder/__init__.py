"""A run is a folder: what lies in it, who may write to it, and that what is written is whole."""
