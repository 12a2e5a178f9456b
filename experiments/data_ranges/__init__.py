"""What the training examples cover (Table 1 and Fig. 2)."""
