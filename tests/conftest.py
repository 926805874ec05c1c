"""What every test needs of the machine it runs on."""

import signal

# Started in the background by a shell, a process ignores Ctrl-C, and so do its children; tests of
# Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
