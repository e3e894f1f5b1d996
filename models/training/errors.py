"""What training may end with."""


class TrainingError(RuntimeError):
    """Training that cannot go on; raised on every rank."""
