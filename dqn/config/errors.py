"""What a wrong configuration is answered with."""


class ConfigError(ValueError):
    """A configuration that cannot run: one line that names key, value and what is allowed."""
