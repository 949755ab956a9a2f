"""Sweeps in processes that can be killed: loads the model once, then forks a process for each line on stdin.

A line is JSON: the arguments of `dla.sweep` after the attributor, and `corpus`. For each, two lines are printed: the
process's number, and how it ended with what it printed.
"""

import json
import os
import resource
import signal
import sys
import traceback

import torch

import dla
import dla.demo


def run(attributor: dla.Attributor, order: dict) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = dla.sweep(order.pop("corpus"), attributor, order.pop("out"), **order)
    except KeyboardInterrupt as stop:
        tell({"stopped": stop.__notes__})
        return 130
    except Exception as error:
        tell({"error": traceback.format_exception_only(error)})
        return 1
    tell({"done": str(done), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    return 0


def tell(what: dict) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    tell({"ready": True})
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(run(attributor, json.loads(line)))
        tell({"pid": child})
        _, status = os.waitpid(child, 0)
        tell({"ended": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
