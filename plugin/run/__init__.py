"""The run folder and the job that works in it: settings, ledger, lock, retention, progress, output."""
