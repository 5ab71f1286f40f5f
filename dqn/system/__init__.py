"""What is asked of the operating system: files, locks, signals, exit statuses, memory, threads."""
