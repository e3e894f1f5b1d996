"""The words that start a command on several ranks, here where tests run as root on few cores."""


def mpirun_words(n):
    """The launcher's words for n ranks."""
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(n)]
