"""The paper's 25 µs a curve, and ours, side by side."""
