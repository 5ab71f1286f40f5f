"""One run's life: its directory, what it is made of, what it saves, how it ends."""
