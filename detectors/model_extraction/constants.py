"""Codes of reasons, and the numbers of the test, each with its source."""

from __future__ import annotations

HARVEST, TOKENS, LIMIT, SWEEP = range(4)  # Reason.code

HOUR_S, DAY_S = 3600.0, 86400.0
SIGNALS = 5  # volume, repeats, spread, asked-for answers, newcomer
SIGN_NATS = 3.0  # a signal says something from p = .05 on; algorithms E asks for two such, we for volume and one more
CAP_NATS = 13.8  # p = 1e-6, the least p that any baseline may claim (DESIGN section 2)
RECENT = 64  # places for shapes and sizes met: one met before is a near-duplicate until another takes its place
FIRST_HOURS = 24  # of a caller on a model, before its own past has a say
PAST_HOURS = 168.0  # own past forgets over a week of active hours
PEERS_TAU_S = 10 * DAY_S  # half-life of a week: algorithms finding 6
SWEEP_SHARE = 0.9  # of an hour's requests near-duplicates, or for a watched feature: a loop over a list
LEAST_CALLS = 3  # in an hour, before shares of it say something
RISE_A_DAY = 0.05  # of a past that is frozen for longer than a day (DESIGN section 2)
AGAIN_NATS = 3.0  # so much more is news, else after REFRESH_S
REFRESH_S = 600.0
STEP = 1.1  # within an hour it is judged anew when a tenth more has come: bounded work, and a delay of a tenth
SD_VOLUME = 0.5  # an own past is never taken to be steadier: ln 1.65, what ordinary days differ by
SD_SHARE = 0.1
