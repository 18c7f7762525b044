"""`python -m mcp_sidecar`: the same as the command `mcp-sidecar`; knows nothing else."""

import sys

from mcp_sidecar.cli import main

if __name__ == "__main__":
    sys.exit(main())
