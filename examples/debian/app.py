"""Counts the words of what is posted, or of standard input."""

import collections
import sys

import bottle


def count(text):
    return dict(collections.Counter(text.lower().split()).most_common(10))


@bottle.post("/count")
def counted():
    return count(bottle.request.body.read().decode())


if sys.argv[1:] == ["serve"]:
    bottle.run(host="0.0.0.0", port=8080)
else:
    print(count(sys.stdin.read()))
