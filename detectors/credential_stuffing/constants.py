"""Codes of scopes and reasons, and the numbers of the tests, each with its source."""

from __future__ import annotations

import math

IP, NETWORK, ACCOUNT = 0, 1, 2
NOTHING, STUFFING, SPRAYING, CRACKING, DISTRIBUTED, TAKEOVER, BROKEN, TOO_MANY_FAILURES, TOO_MANY_ACCOUNTS = range(9)
DISTRIBUTED_STUFFING, UNKNOWN_ACCOUNTS = 9, 10  # of populations
AT_ONCE = 11  # a plain limit as well

THETA1 = 0.05  # an attacker's success ratio: lists sold as fresh reach 1-2 %, the rest is margin
PRIOR_THETA0 = 0.8  # of a site not known yet (Jung et al. 2004), worth PRIOR_CONTACTS first contacts
PRIOR_CONTACTS = 20.0
LOWEST_THETA0, HIGHEST_THETA0 = 0.7, 0.82  # attack or outage cannot teach lower; higher, a source at 60 % is accused
NAT_ACCOUNTS = 3.0  # successes on so many accounts make a source a shared one, with a ratio of its own
NAT_CONTACTS = 4.0  # first contacts' worth of the site in that ratio
NAT_LOWEST = 0.5  # however forgetful its users
# Evidence against a shared source lasts hours, not a day: its users' typing errors of a whole shift must not add up.
NAT_TAU_S = 2 * 3600.0
LEAST_NAMES = 5  # distinct names failed on, before a source attacks "many" (Elastic's single-source spray rule)
ONE_NAME = 0.7  # share of the tries on one name, above which many names are only its by-catch
LEAST_ADDRESSES = 3  # of a network: one address is reported as itself
PEOPLE_A, PEOPLE_B = 8.0, 2.0  # mean .8 as above; 11 failures in a row are 1 in 14,000, 20 are 1 in 470,000
SHORT_RUN = 10.0  # a run this short cannot pass the lowest threshold: 8.9 nats
FLEETS = 1024  # a power of two: programs of projects that are told of at a time are few
# Clients of one fleet lose their tokens together: it is told of by the first, until so long after the last
FLEET_S = 3600.0
DOORS = 4096  # a power of two; routes of a site are hundreds, and 64 kB a partition stay in the cache
LEAST_NATS = math.log(0.99 / 1e-4)  # Wald's bound for alpha 1e-4, beta .99
# By how much the first-contact test may be surer than its own theta0 says, where the site's true ratio is higher. The
# solution for .92 is 1.5; sources differ, so it is not trusted further.
LEAST_SURE, MOST_SURE = 0.5, 1.5
LEAK_S = 10.0  # of the bucket of failures at once: one leaves it in so many seconds (CrowdSec's ssh-bf)
MOST_NATS = 14.0  # one false alarm in 1.2 million first contacts; else a flood of sources would blind the test
MINUTE_S, TEN_MINUTES_S, DAY_S, WEEK_S = 60.0, 600.0, 86400.0, 604800.0
TICK_S = 10.0
SEEN_S = 12 * 3600.0  # a pair that failed is remembered for 12 to 24 hours: a slow list is tried within a day
GOOD_S = 7 * 86400.0  # one that succeeded for 7 to 14 days: people come back after a week's leave
PAUSE_S = 600.0  # after such a pause W falls to CAP times the threshold: a source is not accused for days
CAP = 2.0
FORGOTTEN = 0.5  # nats, or tries: less than one third of a failure is left of an old one
GROWTH = 1.5  # news: half as many failures again as last told
