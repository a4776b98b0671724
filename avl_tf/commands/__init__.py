"""What the programs do that is more than one call of a room."""
