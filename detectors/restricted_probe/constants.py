"""Codes of outcomes and reasons, and the numbers of the test, each with its source."""

from __future__ import annotations

import math

UNTOLD, SERVED, REFUSED, MISSING = 0, 1, 2, 3  # how a request ended; UNTOLD teaches nothing (429, 5xx, client gone)
LISTED, TOLD = 4, 5  # more kinds of a remembered resource: refused and on the ``restricted`` list; told of before
LOCKED = 6  # 401 to a request that named nobody: it says nothing of passwords, and not whether the resource is there
NOTHING, PROBE, ENUMERATION, COVERAGE, CANARY, MANY, NEVER_SERVED, WITHOUT_KEY = range(8)

CANARY_NATS = 12.0 * math.log(10.0)  # p = 1e-12: nobody was ever told of it (algorithms D)
LEAST_COVERED = 3  # names of a short list, before a share of it is a pattern
HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 7 * 86400.0
SEEN_S = 7 * DAY_S  # a pair is remembered for 7 to 14 days, like a customer's row in the key table
IP_DECAY_DAYS = 1.0  # behind one address stand many people: their few mistakes must not add up over a week
# A network is told of only where so many addresses speak for it that are not accused themselves, and on half as much
# evidence again: there may be a town behind it.
LEAST_ADDRESSES = 3
NETWORK_MARGIN = 1.5
# What the scan of addresses says of a row to that of networks: its address is accused, it is the address's first
# contact, it is served what it missed before, others are served what it is not. So each scope's state depends on the
# rows alone, however they are cut into batches.
ACCUSED, FIRST, BACK, KNOWN = 1, 2, 4, 8
PRINCIPAL, IP, NETWORK = 0, 1, 2  # scopes, in the order of the detector's
PAUSE_S = 3600.0  # after such a pause what was told counts half the threshold at most: it takes news to tell again
TOLD_SHARE = 0.5
GROWTH = 1.5  # news: half as many resources again as last told
GONE = (404, 405, 410, 422, 444)  # what is not there, or not that way; NGINX closes the connection with 444
REDIRECTS = (302, 303, 307)  # for the moment: what sites send who has no session to their login by
# A page whose session is over asks for all its parts at once, and is served a moment later: what came within so long is
# judged from so many names on, which is less than a row keeps and can take back.
AT_ONCE_S, AT_ONCE = 10.0, 27.0
OPEN = 4096  # resources known to be served to somebody; a power of two. Routes of a site are hundreds
# Of a further id under one template: who has a list of old ids is served less often than theta0 says. And of what
# others are served, asked for without a credential: who guesses does not know what is there.
AGAIN = 0.25
VOTERS = 3  # others refused the same within the hour: more than three in all (algorithms D)
