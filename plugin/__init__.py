"""What a person starts: the cycle, the archive tool, and the configuration and ledger they share.

Only this package knows all the others; it hands arrays and a few small types from one to the next.
"""
