import subprocess
import sys

LIVES = """
import os, random, signal, time
from inspection.station.stopping import stop_on_signals

asked, asking = os.pipe()
station = os.getpid()
if os.fork() == 0:  # another process, as a supervisor is
    os.close(asking)
    while os.read(asked, 1):
        end = time.perf_counter() + random.uniform(0, 1e-4)
        while time.perf_counter() < end:
            pass
        os.kill(station, signal.SIGTERM)
    os._exit(0)
for life in range(3000):
    with stop_on_signals() as stop:
        os.write(asking, b"x")
        while not stop.is_set():
            stop.wait(1e-6)
os.close(asking)
os.wait()
print("stopped")
"""


def test_signal_that_comes_while_the_loop_begins_to_wait_is_heard():
    """A handler that sets the flag itself hangs here: the main thread holds the flag's lock."""
    shown = subprocess.run(
        [sys.executable, "-c", LIVES], capture_output=True, text=True, timeout=60
    )
    assert shown.stdout == "stopped\n", shown.stderr
