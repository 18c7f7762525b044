"""What `helm test` does in policy mode: looks for the sidecar that the policy puts beside it, and asks it.

Arguments: for how many seconds to look, and at which port. A policy takes a moment until the API server applies it, and
a pod that was created before gets no sidecar later: a first pod looks, and lets the time pass where it finds none. With
0 seconds it is the test itself. The standard library only.
"""

import os
import socket
import sys
import time

seconds, port = float(sys.argv[1]), int(sys.argv[2])
until = time.monotonic() + seconds


def is_here() -> bool:
    """A sidecar is started before the containers beside it, so it listens by now."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


while not is_here():
    if not seconds:
        sys.exit(
            "the policy put no sidecar into this pod. Is this namespace labelled mcp-sidecar.dev/injection=disabled?"
            " Is `kubectl get mutatingadmissionpolicybinding` without inject.mcp-sidecar.dev?"
        )
    if time.monotonic() >= until:
        print(f"this pod was created before the policy was in force: {seconds:g} s have passed, the next one is not")
        sys.exit()
    time.sleep(0.5)
if seconds:
    print("the policy is in force: it put a sidecar into this pod")
else:
    os.execvp("mcp-sidecar", ["mcp-sidecar", "status", "--address", f"127.0.0.1:{port}"])
