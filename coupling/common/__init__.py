"""What every room of every package may import: errors that all ranks raise, files that appear whole or not at all.

    collective    errors and results that all ranks share
    files         files and folders that appear whole or not at all
    links         files opened themselves, not what a link leads to
    locks         one job at a time: who writes a file, or works in a folder
    processes     which process of which host, and whether it is still there
    hdf5          HDF5 files of others: nothing from elsewhere, and no more than there is
    text          texts that others wrote, fit to be shown
    waiting       waiting that leaves the processors to others
    watchdog      a limit on how long a rank may go without progress
    manifest      the list of a folder's files and their hashes
    headers       a file's header compared with the expected one
    faults        moments at which tests let a run fail

It knows neither meshes nor mathematics. Only `plugin` imports from any other room of another package.
"""
