"""docs/alerts.md and its pictures: the same incident in every sink, from what the receivers really send.

``python -m gatewatch.testing.alerts_page FOLDER`` writes them; a test holds the page to the code.
"""

from __future__ import annotations

import json
import sys
from email.message import EmailMessage
from math import exp
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gatewatch import registry
from gatewatch.clock import ManualClock
from gatewatch.notify.base import Attempt, Receiver, Result
from gatewatch.notify.notice import Bulletin, Line, Notice
from gatewatch.notify.receivers.alertmanager import Alertmanager
from gatewatch.notify.receivers.email import Email
from gatewatch.notify.receivers.pagerduty import PagerDuty
from gatewatch.notify.receivers.slack import Slack
from gatewatch.notify.receivers.webhook import Envelope, Webhook
from gatewatch.records import ContributionModel, Scope, Severity
from gatewatch.testing import pictures
from gatewatch.testing.alerts import alert, incident
from gatewatch.testing.sinks import StandIn

NOW = 1_795_491_600.0
INCIDENT = "5a1f0c9be2d74486"
_ORANGE, _RED = "#d9480f", "#a30200"


class _Captured(Email):
    """Keeps the mail instead of sending it."""

    def __init__(self) -> None:
        sender, to = "gatewatch@example.com", ("ml-oncall@example.com",)
        super().__init__("localhost", 25, "none", sender, to, ManualClock(NOW))
        self.message = EmailMessage()

    def _deliver(self, message: EmailMessage) -> Attempt:
        self.message = message
        return Attempt(Result.DELIVERED)


def scene() -> Notice:
    """A botnet that tries stolen passwords, five minutes after it began."""
    shared: dict[str, Any] = {
        "incident_id": INCIDENT,
        "first_ts": NOW - 300.0,
        "last_ts": NOW,
        "valid_until": NOW + 600.0,
        "project": "billing",
        "owner": "team-billing",
        "escalation": "#billing-oncall",
    }
    network = alert(
        id="8c21d0f4aa90be17",
        scope=Scope.NETWORK,
        key="203.0.113.0/24",
        severity=Severity.CRITICAL,
        summary="499 failed logins on 31 accounts from 203.0.113.0/24 in 5 min",
        count=11,
        observed=499.0,
        expected=2.4,
        unit="failed logins",
        window_s=300.0,
        baseline="usually 0-6 failed logins in 5 min from one network, 28 days",
        counterfactual="would not have fired below 21 failed logins",
        contributions=(
            ContributionModel(name="failures", nats=61.2, text="499 failed logins where 2.4 were expected"),
            ContributionModel(name="accounts", nats=18.4, text="31 accounts, 29 of them never seen from here"),
            ContributionModel(name="successes", nats=-1.1, text="2 first tries succeeded"),
        ),
        nats=78.5,
        context={"user_agent": "<!channel> https://evil.example/click", "country": "NL"},
        decision_ids=("d41c", "d41d"),
        tags={"attack": ("T1110.004",), "owasp": ("API2",)},
        series=tuple(2.0 + 97.0 / (1.0 + exp(9.0 - 0.6 * cell)) for cell in range(24)),
        **shared,
    )
    takeover = alert(
        id="1b7e66902cd3f58a",
        scope=Scope.ACCOUNT,
        key="j.doe",
        reason="takeover",
        title="Account takeover",
        count=1,
        **shared,
    )
    whole = incident(
        network,
        takeover,
        id=INCIDENT,
        title="Credential stuffing from network 203.0.113.0/24",
        story="Credential stuffing from network 203.0.113.0/24 since 2026-11-24 03:35 UTC, 5 min; "
        "499 failed logins where 2.4 is normal, 12 findings; on 31 accounts; also account takeover; "
        "2 blocks, effective after 2 s",
        decisions_total=2,
        owner="team-billing",
        escalation="#billing-oncall",
    )
    return Notice(
        key=INCIDENT,
        about=network.id,
        revision=network.revision,
        alert=network,
        incident=whole,
        members=(network, takeover),
        playbook=registry.load("credential_stuffing").playbook,
        link=f"https://gatewatch.example.com/incidents/{INCIDENT}",
    )


def capture(notice: Notice) -> dict[str, list[Any]]:
    """What each sink is sent: the bodies of its requests."""
    clock = ManualClock(NOW)
    sent: dict[str, list[Any]] = {}
    server = StandIn()
    try:
        receivers: list[tuple[str, Receiver]] = [
            ("slack", Slack("#abuse", SecretStr("t"), base_url=f"{server.url}/api/", buttons=True)),
            ("pagerduty", PagerDuty(SecretStr("R0UT1NGKEY"), Severity.HIGH, url=server.url)),
            ("alertmanager", Alertmanager(server.url, clock)),
            *((name, _webhook(server.url, name, clock)) for name in ("plain", "cloudevents", "ocsf")),
        ]
        for name, receiver in receivers:
            server.seen.clear()
            receiver.send(notice, None)
            receiver.close()
            sent[name] = [json.loads(body) for _, _, body in server.seen]
        server.seen.clear()
        slack = receivers[0][1]
        slack.announce(_storm())
        sent["bulletin"] = [json.loads(server.seen[0][2])]
    finally:
        server.close()
    return sent


def page() -> tuple[str, dict[str, str]]:
    """The page, and its pictures by name."""
    notice = scene()
    sent, mail = capture(notice), _Captured()
    mail.send(notice, None)
    text = mail.message.get_body(("plain",))
    assert text is not None
    message, thread = sent["slack"]
    (manager,) = sent["alertmanager"][0]
    duty = sent["pagerduty"][0]
    lines = {
        "slack": list(pictures.block_kit(message)),
        "slack-thread": list(pictures.block_kit(thread)),
        "slack-storm": list(pictures.block_kit(sent["bulletin"][0])),
        "pagerduty": [
            *pictures.plain(duty["payload"]["summary"]),
            *pictures.pairs(duty["payload"]["custom_details"]),
            ("button", f"[ {duty['links'][0]['text']} ]"),
        ],
        "alertmanager": [
            *pictures.plain(" ".join(f'{name}="{value}"' for name, value in manager["labels"].items())),
            *pictures.pairs(manager["annotations"]),
        ],
        "email": list(pictures.plain(text.get_content())),
    }
    colours = {"slack-storm": _ORANGE}
    images = {f"alert-{name}.svg": pictures.svg(rows, colours.get(name, _RED)) for name, rows in lines.items()}
    return _text(sent, mail), images


def _webhook(url: str, envelope: Envelope, clock: ManualClock) -> Receiver:
    return Webhook(f"{url}/hook", SecretStr("s"), clock, envelope=envelope)


def _storm() -> Bulletin:
    line = "2026-11-24 03:40:00 UTC Password cracking by ip 198.51.100.{}: 286 failed logins, expected 0.4 [9f{}]"
    lines = tuple(Line(Severity.HIGH, line.format(i, i)) for i in range(20))
    title = "61 more alerts, beyond the limit of messages a minute (61 high)"
    return Bulletin("capped-1", title, Severity.HIGH, lines, 41, "all of them: gatewatch alerts list")


def _text(sent: dict[str, list[Any]], mail: _Captured) -> str:
    message, thread = sent["slack"]
    headers = "\n".join(f"{name}: {value}" for name, value in mail.message.items() if not name.startswith("MIME"))
    parts = {
        "{slack}": _json(message),
        "{thread}": _json(thread),
        "{pagerduty}": _json(sent["pagerduty"][0]),
        "{alertmanager}": _json(sent["alertmanager"][0]),
        "{ocsf}": _json({k: v for k, v in sent["ocsf"][0].items() if k != "unmapped"}),
        "{cloudevents}": _json({**sent["cloudevents"][0], "data": "the alert, as in plain"}),
        "{email}": headers,
    }
    text = _PAGE
    for name, value in parts.items():
        text = text.replace(name, value)
    return text


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


_PAGE = """# What people see

The same incident in every sink. This page and its pictures are made from what the receivers really send, by
`python -m gatewatch.testing.alerts_page docs`; a test holds them to the code. The attacker in it calls itself
`<!channel> https://evil.example/click`: look what becomes of that.

How to name receivers, routes, digests and quiet hours: [settings.md](settings.md). What a restart may repeat:
[delivery.md](delivery.md).

## Slack

One message an incident, changed in place; the colour is its severity, green when it is over. The first reply in its
thread has the playbook with the alert's own values, all members, and why. Later replies come only when something is
news: severity, an end, a person, another detector. What a stranger wrote is plain text, which Slack never parses.

![The message in the channel](img/alert-slack.svg)

![The first reply in its thread](img/alert-slack-thread.svg)

Buttons write verdicts. They come over Socket Mode, or as signed requests to `/slack/actions`:

```yaml
verdicts: {actors: [{name: ana, slack: U042ABCDE}]}
notify:
  slack:
    channel: C0ABUSE
    token_env: SLACK_TOKEN
    buttons: {mode: socket, app_token_env: SLACK_APP_TOKEN, team: T0CORP}
```

Only people on `verdicts.actors` count; everybody else is told so, in words that only they see. A signed request counts
once, within five minutes. `snooze` holds back one hour, `expected` seven days; both end at once when it gets worse.
What is `expected` may teach the detector's baseline again.

**A second person.** Where a detector has `block: {approval: true}`, its orders wait, nobody is stopped, and the message
also has *Approve block* and *Reject block*. Only people with `approve` count, and not whoever called the alert true
first: that is who asked for the block. Pressed twice it is one order. The guards are asked again, so nobody is stopped
whom they protect. What nobody approves ends with the alert. `gatewatch check` warns where nobody may press, and where
fewer than two people may approve; `gatewatch audit list` has every press with the person, also those that were refused.

**The rate** is what the key asked for in the last two hours, a bar for five minutes each, refused requests too. Only
addresses, networks and principals have one.

**Doubt?** Every message names two commands. `gatewatch alerts explain ID` says why it fired. `gatewatch alerts replay
ID` reads the rows around it from Kafka once more and makes the alert again, as long as Kafka holds them; a baseline
that took a week to learn needs `--back 7d`. Both need the settings: `--config`, or `GATEWATCH_CONFIG`.

**Silences** hide; so on Monday at nine (UTC) people are told how many alerts each silence held back in the week before,
and `gatewatch silences list` shows it at any time.

More than `notify.slack.per_minute` new messages a minute become one:

![The message about the rest](img/alert-slack-storm.svg)

100,000 findings on 5,000 keys within a minute became 71 incidents: 31 messages in Slack within four minutes, the 20
account takeovers first; 21 pages, each once; and all 5,000 alerts are on record
(`tests/integration/test_finding_storm.py`).

Killed (`kill -9`) 50 times in the middle of a send, notify lost nothing: 150 alerts, each paged once and closed at
PagerDuty, each once at Alertmanager, and in Slack at most one message doubled for each kill
(`tests/integration/test_notify_kills.py`, in each run of CI; two and a half minutes on two busy cores).

<details><summary>The message as it is sent</summary>

```json
{slack}
```

</details>

<details><summary>The reply as it is sent</summary>

```json
{thread}
```

</details>

## PagerDuty

One incident an incident: trigger, acknowledge (when somebody gives a verdict) and resolve have the same `dedup_key`,
so nobody is paged twice, whatever is repeated. `critical` stays, `high` is `error`, `medium` is `warning`.

![The incident](img/alert-pagerduty.svg)

<details><summary>The event as it is sent</summary>

```json
{pagerduty}
```

</details>

## Alertmanager

One alert an alert: grouping, silencing, inhibiting and routing is its own job. Labels are closed sets and the key, and
do not change between revisions; a severity that changes ends the old alert in the same request. Open alerts are told
again each minute, and count as over five minutes after the last time. `group_by: [incident]` gives one notification an
incident.

![Labels and annotations](img/alert-alertmanager.svg)

<details><summary>The array as it is sent</summary>

```json
{alertmanager}
```

</details>

## Mail

As text and as HTML in which everything is escaped. Later mails are in the thread of the first, and come only for what
is news. A repeated try has the same `Message-ID`. STARTTLS never falls back to plain text.

![The text part](img/alert-email.svg)

```text
{email}
```

## Webhook

Every revision of every alert (one that still waits gives way to a newer one), signed:
`X-Gatewatch-Signature: t=<epoch s>,v1=<hex>`, HMAC-SHA256 over `t.body`. Check it over the raw body, refuse what is
older than five minutes, and drop what has an `Idempotency-Key` that you know.

`envelope: plain` is the alert as it stands in the topic. `envelope: cloudevents`:

```json
{cloudevents}
```

`envelope: ocsf` is a Detection Finding (class 2004, OCSF 1.8.0), with the whole alert under `unmapped`:

```json
{ocsf}
```

## Verdicts from other programs

A ticket system or another chat posts what a person said to `/verdicts` of the notify role, signed as our own webhooks
are, with that person's secret: so nobody speaks as somebody else, and a second person is one.

```yaml
verdicts:
  listen: 127.0.0.1:9110
  actors: [{name: ana, secret_env: ANA_SECRET}]
```

```sh
body='{"about": "8c21d0f4aa90be17", "actor": "ana", "kind": "snooze", "reason": "OPS-311", "until": 1795495200}'
t=$(date +%s); v=$(printf '%s.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$ANA_SECRET" -r | cut -d' ' -f1)
curl -H "X-Gatewatch-Signature: t=$t,v1=$v" --data "$body" http://127.0.0.1:9110/verdicts
```

The kinds, the checks and the record are those of buttons and of `gatewatch verdicts add`. 200 when Kafka has it; 401
where the signature is wrong or older than five minutes, 409 where it was there before, 403 with the reason where the
person may not.
"""


def main(folder: Path) -> None:
    """Write the page and its pictures."""
    text, images = page()
    (folder / "img").mkdir(exist_ok=True)
    (folder / "alerts.md").write_text(text, encoding="utf-8")
    for name, image in images.items():
        (folder / "img" / name).write_text(image, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
