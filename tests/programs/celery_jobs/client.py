# SPDX-License-Identifier: MIT
"""The program that sends tasks to the Celery worker and prints their results, in the order of
sending."""

import celery
import jobs

WAIT = {"timeout": 90, "interval": 0.02}


def main():
    print("met", [result.get(**WAIT) for result in [jobs.meet.delay("met", 2) for _ in "ab"]])
    sent = []
    for number in range(12):
        sent += [jobs.add.delay(number, number), jobs.tree.delay(number % 7),
                 jobs.lookup.delay(list(range(number, number + 50))), jobs.collect.delay()]
    sent += [jobs.flaky.delay(number) for number in range(3)]
    sent.append(celery.chain(jobs.add.s(1, 2), jobs.add.s(3), jobs.add.s(4)).delay())
    sent.append(celery.group(jobs.add.s(n, n) for n in range(5)).delay())
    print("results", [result.get(**WAIT) for result in sent])
    for result in [jobs.fail.delay(number) for number in range(3)]:
        try:
            result.get(**WAIT)
        except Exception as error:  # of a class that Celery makes up
            print("failed", type(error).__name__, error.args)
            print(result.traceback)
    print("states", sorted({result.state for result in sent if hasattr(result, "state")}))


if __name__ == "__main__":
    main()
