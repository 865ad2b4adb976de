"""Codes of kinds of values and reasons, and the numbers of the model, each with its source."""

from __future__ import annotations

NETWORK, ASN, COUNTRY, AGENT, MODEL, KINDS = range(6)  # kinds of values that a key is known by
PLACES = 3  # the first three of them make a place; how many of them are new is its level: 1, 2 or 3
NOTHING, NEW_PLACE, BURST, CONCURRENT = range(4)  # reasons, from the weakest evidence to the strongest
WITH_AGENT, WITH_MODEL, WITH_CONCURRENT, WITH_BURST, MARKS = range(5)  # what may come with a new place

DAY_S, WEEK_S, MONTH_S = 86400.0, 7 * 86400.0, 28 * 86400.0
TICK_S = 10.0  # what all keys have in common is renewed this often, and read frozen between
DECAY_STEP_S = 21600.0  # a row's slow counts decay in steps: a quarter of a day is 1 % of their decay time
MEMORY_S = MONTH_S  # Wiefling et al. 2022: a risk engine loses nothing by forgetting what is half a year old
WINDOW_S = 600.0  # "at the same time" (algorithms B: concurrent within 10 min)
LEAST_SWITCHES = (
    2.0  # owner, other, owner, other in about 10 minutes, less decay; who turns a VPN on and off switches twice
)
# Who moves to another machine room has both for a while, until the last request of the old one is through: rolling
# updates and drained connections take minutes. Another country in turn with the owner's is told of at once.
HANDOVER_S = 1800.0
LEAST_BURST = 20.0  # events in WINDOW_S

# What is believed before a site is known: share of key-days with a new value of each kind, worth PRIOR_DAYS key-days
PRIOR_DAILY = (0.3, 0.05, 0.01, 0.03, 0.05)
PRIOR_DAYS = 50.0
SHAPE = 0.3  # of the gamma distribution of rates over keys: most keys never move, some move daily
# and how often a benign new place comes with a new agent, new model, use beside the old place, ten times the rate
PRIOR_MARKS = (0.05, 0.1, 0.1, 0.1)
PRIOR_PLACES = 20.0
RELEASED = 3.0  # keys that begin with an agent at home within a day: a release of a client, no thief
MOST_NATS = 16.0  # of the threshold: one in nine million key-days; else a flood of keys would blind the test
GROWTH = 1.5
