"""The library of the book: sequence-to-sequence models, made to be read."""
