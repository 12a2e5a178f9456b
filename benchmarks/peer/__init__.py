"""What the peers benchmark is made of."""
