"""The training loop: what it does at each turn, what is due when, and what it writes."""
