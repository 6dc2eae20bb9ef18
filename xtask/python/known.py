"""The lists of differences that stay: each with the number of places that it may excuse, and its reason."""

import collections
import fnmatch
import pathlib


class Known:
    """Lines of `COUNT PATTERN: reason`, with wildcards in the pattern; `#` starts a comment."""

    def __init__(self, path):
        lines = (line for line in pathlib.Path(path).read_text().splitlines() if line.strip() and not line.startswith("#"))
        self.reasons, self.limits, self.used = {}, {}, collections.Counter()
        for line in lines:
            entry, reason = line.split(": ", 1)
            count, pattern = entry.split(" ", 1)
            self.limits[pattern], self.reasons[pattern] = int(count), reason

    def key_of(self, difference):
        """The pattern that the difference stands under; None where it is not listed."""
        return next((key for key in self.reasons if fnmatch.fnmatchcase(difference, key)), None)

    def excuses(self, difference):
        """Whether the difference is listed; counts it."""
        key = self.key_of(difference)
        if key is not None:
            self.used[key] += 1
        return key is not None

    def problems(self):
        """What is wrong with the list itself: patterns that excuse nothing, or more than they are for."""
        for key, limit in self.limits.items():
            if not self.used[key]:
                yield f"{key}: no difference is left: take it off the list"
            elif self.used[key] > limit:
                yield f"{key}: {self.used[key]} differences, {limit} are known"

    def counts(self):
        """The lines of the list that were met, with their counts."""
        return [f"  {count:5} {key}: {self.reasons[key]}" for key, count in sorted(self.used.items())]
