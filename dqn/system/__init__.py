"""What is asked of the operating system: files, locks, signals, memory, threads."""
