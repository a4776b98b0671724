"""The programs that are compared; duel.py starts them."""
