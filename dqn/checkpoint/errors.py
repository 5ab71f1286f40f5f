"""Why a checkpoint cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason in one line."""


class CheckpointFormatError(CheckpointError):
    """A checkpoint in good order, of a format that this version does not read."""
