"""Whether the intervals of fits hold, judged by fresh simulations."""
