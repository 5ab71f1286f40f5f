"""Losses: pure functions of predictions and outcomes, one number a transition."""
