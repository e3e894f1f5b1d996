"""The words that start a command on several ranks, here where tests run as root on few cores."""

import re


def mpirun_words(n):
    """The launcher's words for n ranks."""
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(n)]


def without_mpi_notes(text):
    """Text without Open MPI 5's warnings about network interfaces, which ranks of one machine do not need."""
    text = re.sub(r"\[\S+?\]\[\[\d+,\d+\],\d+\]\[\S*btl_tcp\S*\] ?", "", text)
    return text.replace("Unable to find reachable pairing between local and remote interfaces\n", "")
