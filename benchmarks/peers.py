"""Peers side by side in one run on one core: abTEM, prismatic, the published network.

All times are processor seconds (`time.process_time`) of a process held to one core, so that
other work on the machine does not count. Au [110], 300 kV, α = 20 mrad, rmsd 0.085 Å, detector
60–200 mrad. What is measured and how: benchmarks/README.md.

    python benchmarks/peers.py [--quick] [--only scan|wave|network]
"""

import os

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
for _name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"

import argparse
import sys

from peer.network import network_benchmark
from peer.scan import scan_benchmark
from peer.wave import wave_benchmark


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute or two, rough numbers")
    parser.add_argument("--only", choices=["scan", "wave", "network"])
    parser.add_argument("--configurations", type=int, help="abTEM's frozen phonons (default 8)")
    parser.add_argument(
        "--supercell", type=float, default=8.4, help="edge of abTEM's supercell [Å]"
    )
    parser.add_argument(
        "--prismatic-python", metavar="PATH", help="interpreter that has pyprismatic"
    )
    parser.add_argument(
        "--rt-ppiscs-python",
        metavar="PATH",
        default=sys.executable,
        help="interpreter that has rt_ppiscs (default: this one)",
    )
    options = parser.parse_args()
    options.configurations = options.configurations or (3 if options.quick else 8)
    benchmarks = {"network": network_benchmark, "wave": wave_benchmark, "scan": scan_benchmark}
    for name, benchmark in benchmarks.items():
        if options.only in (None, name):
            benchmark(options)


if __name__ == "__main__":
    main()
