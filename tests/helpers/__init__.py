"""What several test files share: oracles, stand-ins, tiny runs, a browser."""
