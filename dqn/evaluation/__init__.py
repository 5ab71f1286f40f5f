"""Playing to judge: whole games, films of them, and what scores are measured against."""
