"""What the codes of a model with codebooks stand for: words, counted and written."""
