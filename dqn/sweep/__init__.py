"""Many runs at once: each recorded, watched, and finished by the same command."""
