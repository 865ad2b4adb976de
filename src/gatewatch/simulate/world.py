"""Who and what there is: projects, endpoints, models, services with keys, people with accounts, addresses.

Everything that an event can name stands in a pool here, and a row holds its code. Benign and hostile rows use the same
pools. Sizes grow with the rate, so a busier site has more callers and not only busier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import msgspec
import numpy as np
import numpy.typing as npt

from gatewatch.simulate import names
from gatewatch.simulate.rows import Codes, Floats, Rng, lognormal, pick

_SPARE_HOSTED = 64  # addresses and agents that nobody benign uses: attackers rent from the same providers
_SPARE_ACCESS = 6000
_SHAPES = 48
_ZIPF = 1.1  # exponent of popularity: the usual finding for API callers is between 0.9 and 1.3


class Place(IntEnum):
    """Where a person signs in from."""

    HOME = 0
    OFFICE = 1
    NAT = 2  # one address of a provider for many households
    MOBILE = 3  # another address at every visit


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of the gateway."""

    project: str
    method: str
    path: str
    restricted: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """One model, with what it costs and how fast it writes."""

    name: str
    version: str
    provider: str
    usd_in: float  # for 1,000 tokens
    usd_out: float
    ms_per_token: float


PROJECTS = ("billing", "search", "support", "docs", "vision", "research")
MODELS = (
    Model("small-chat", "2026-03", "inhouse", 0.0002, 0.0006, 6.0),
    Model("large-chat", "2026-05", "northwind", 0.0025, 0.0100, 14.0),
    Model("embed", "3", "inhouse", 0.00002, 0.0, 0.0),
    Model("vision", "1.4", "contoso", 0.0040, 0.0120, 18.0),
    Model("large-chat-preview", "2026-09", "northwind", 0.0100, 0.0300, 22.0),
    Model("large-chat-preview", "2026-10", "northwind", 0.0100, 0.0300, 22.0),
)
_CHAT_MODELS = np.array([0, 0, 0, 1, 1, 3])
PREVIEW, NEXT_PREVIEW = 4, 5
_SERVICE_AGENTS = (
    "python-httpx/0.28.1", "modelclient-python/2.4.0", "modelclient-node/5.1.2", "Go-http-client/2.0", "okhttp/4.12.0",
    "modelclient-python/2.3.1", "axios/1.7.9",
)  # fmt: skip
_BROWSER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0", "Mozilla/5.0 (Macintosh; Intel Mac OS X) Safari/18.1",
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1) Mobile Safari/18.1",
    "Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Mobile", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Edg/131.0",
)  # fmt: skip


def _endpoints() -> list[Endpoint]:
    made = [Endpoint("portal", "POST", "/login")]
    for project in PROJECTS:
        made.append(Endpoint(project, "POST", f"/{project}/v1/chat/completions"))
        made.append(Endpoint(project, "POST", f"/{project}/v1/embeddings"))
    made.append(Endpoint("portal", "POST", "/portal/v1/chat/completions"))
    for project in PROJECTS:
        made += [
            Endpoint(project, "POST", f"/{project}/v1/fine_tuning/jobs", restricted=True),
            Endpoint(project, "GET", f"/{project}/v1/files", restricted=True),
            Endpoint(project, "GET", f"/{project}/admin/keys", restricted=True),
        ]
    return made


ENDPOINTS = _endpoints()
LOGIN = 0
PORTAL_CHAT = 1 + 2 * len(PROJECTS)
RESTRICTED = np.array([i for i, endpoint in enumerate(ENDPOINTS) if endpoint.restricted])
EMBEDDINGS = np.array([i for i, endpoint in enumerate(ENDPOINTS) if endpoint.path.endswith("embeddings")])


@dataclass(frozen=True, slots=True)
class BodyShape:
    """The structure of one kind of request body."""

    hash: str
    fields: msgspec.Raw  # JSON list of "path:type", written once
    depth: int
    keys: int
    longest_array: int


@dataclass(slots=True)
class Addresses:
    """The pool of client addresses, each with its network operator and country."""

    names: list[str] = field(default_factory=list)
    asn: list[int] = field(default_factory=list)
    country: list[str] = field(default_factory=list)

    def add(self, rng: Rng, addresses: list[str]) -> Codes:
        """Codes (n,) of new addresses; operators are drawn, an operator belongs to one country."""
        codes = np.arange(len(self.names), len(self.names) + len(addresses))
        operators = rng.integers(0, len(names.DOC_ASNS), len(addresses))
        self.names += addresses
        self.asn += [names.DOC_ASNS[k] for k in operators]
        self.country += [names.COUNTRIES[k % len(names.COUNTRIES)] for k in operators]
        return codes


@dataclass(slots=True)
class Callers:
    """Everybody who calls a model, services first, then people; arrays of one length."""

    principal: Codes
    credential: Codes
    ip: npt.NDArray[np.int64]  # (n, 2): the usual address and the other one
    agent: Codes
    endpoint: npt.NDArray[np.int64]  # (n, 2)
    model: Codes
    shape: npt.NDArray[np.int64]  # (n, 3)
    tokens_in: Floats  # medians
    tokens_out: Floats
    denied_share: Floats  # requests refused by policy: some callers have an old configuration


@dataclass(slots=True)
class World:
    """The cast.

    Attributes:
        services: how many callers are services; the first rows of ``callers``.
        service_rate: (services,) requests a second on average, largest first.
        rhythm: (services,) index into ``benign.RHYTHMS``.
        people: how many people; person i is caller ``services + i`` and account i.
        spare_hosted, spare_access: addresses of nobody yet.
    """

    principals: list[str]
    credentials: list[str]
    accounts: list[str]
    agents: list[str]
    shapes: list[BodyShape]
    addresses: Addresses
    callers: Callers
    services: int
    service_rate: Floats
    rhythm: Codes
    people: int
    place: Codes
    typo: Codes  # (people,) the account name that this person types by mistake
    mobile: Codes  # addresses that mobile visits draw from
    spare_hosted: Codes
    spare_access: Codes

    def new_accounts(self, rng: Rng, n: int) -> Codes:
        """Names that have no account here, such as fill leaked password lists."""
        taken = set(self.accounts)
        fresh = [name for name in names.account_names(rng, n + n // 4 + 8) if name not in taken][:n]
        self.accounts += fresh
        return np.arange(len(self.accounts) - len(fresh), len(self.accounts))

    def new_credentials(self, rng: Rng, n: int) -> Codes:
        """Ids of keys that were never given out."""
        self.credentials += names.key_ids(rng, n)
        return np.arange(len(self.credentials) - n, len(self.credentials))

    def new_service(self, project: str) -> int:
        """The principal of a service that begins now."""
        self.principals.append(f"{project}-etl-{len(self.principals)}")
        return len(self.principals) - 1

    def rent_addresses(self, n: int, *, hosted: bool) -> Codes:
        """Addresses that nobody uses yet. At most 64 hosted ones and 6,000 of access networks in all."""
        if hosted:
            rented, self.spare_hosted = self.spare_hosted[:n], self.spare_hosted[n:]
        else:
            rented, self.spare_access = self.spare_access[:n], self.spare_access[n:]
        return rented

    def service_near(self, share: float) -> int:
        """The service at this place in the order of rates: 0 the busiest, 1 the quietest."""
        return int(share * (self.services - 1))


def build(rng: Rng, rate: float, *, service_share: float) -> World:
    """A world for ``rate`` events a second, of which services send ``service_share``."""
    services = int(np.clip(10 * rate, 60, 2000))
    people = int(np.clip(150 * rate, 400, 60_000))
    addresses = Addresses()
    hosted = addresses.add(rng, names.hosted_addresses(rng, 2 * services + 16 + _SPARE_HOSTED))
    access = addresses.add(rng, names.access_addresses(rng, people + people // 3 + _SPARE_ACCESS))
    accounts = names.account_names(rng, people)
    place = rng.choice([int(p) for p in Place], size=people, p=[0.52, 0.08, 0.18, 0.22])
    typo_names, typo = _typos(accounts)
    shapes = [_shape(rng, i) for i in range(_SHAPES)]
    weights = 1.0 / np.arange(1, services + 1) ** _ZIPF
    home = _home_addresses(rng, place, hosted, access)
    project = rng.integers(0, len(PROJECTS), services)
    return World(
        principals=[*_service_names(rng, project), *accounts],
        credentials=names.key_ids(rng, services + 4),
        accounts=accounts + typo_names,
        agents=[*_SERVICE_AGENTS, *_BROWSER_AGENTS],
        shapes=shapes,
        addresses=addresses,
        callers=_callers(rng, project, hosted, home),
        services=services,
        service_rate=rate * service_share * weights / weights.sum(),
        rhythm=rng.choice(3, size=services, p=[0.4, 0.4, 0.2]),
        people=people,
        place=place,
        typo=typo,
        mobile=access[people : people + people // 3],
        spare_hosted=hosted[-_SPARE_HOSTED:],
        spare_access=access[-_SPARE_ACCESS:],
    )


def _service_names(rng: Rng, project: Codes) -> list[str]:
    kinds = ("api", "worker", "sync", "ranker", "tagger", "bot", "etl", "gateway")
    drawn = rng.integers(0, len(kinds), len(project))
    return [f"{PROJECTS[p]}-{kinds[k]}-{i}" for i, (p, k) in enumerate(zip(project, drawn, strict=True))]


def _home_addresses(rng: Rng, place: Codes, hosted: Codes, access: Codes) -> Codes:
    """Everybody's usual address: their own, the one of the office, or one of six of a provider."""
    shared = hosted[-_SPARE_HOSTED - 8 : -_SPARE_HOSTED]
    home = access[: len(place)].copy()
    home[place == Place.OFFICE] = shared[0]
    behind_nat = place == Place.NAT
    home[behind_nat] = pick(rng, shared[1:7], int(behind_nat.sum()))
    return home


def _callers(rng: Rng, service_project: Codes, hosted: Codes, home: Codes) -> Callers:
    services, people = len(service_project), len(home)
    n = services + people
    project = np.concatenate([service_project, np.zeros(people, np.int64)])
    is_person = np.arange(n) >= services
    chat, embed = 1 + 2 * project, 2 + 2 * project
    embeds = (rng.random(n) < 0.25) & ~is_person
    first = np.where(is_person, PORTAL_CHAT, np.where(embeds, embed, chat))
    second = np.where(is_person, PORTAL_CHAT, np.where(rng.random(n) < 0.5, embed, chat))
    agent = np.where(
        is_person,
        len(_SERVICE_AGENTS) + rng.integers(0, len(_BROWSER_AGENTS), n),
        rng.integers(0, len(_SERVICE_AGENTS), n),
    )
    addresses = np.concatenate([hosted[: 2 * services].reshape(-1, 2), np.stack([home, home], axis=1)])
    return Callers(
        principal=np.arange(n),
        credential=np.where(is_person, -1, np.arange(n)),
        ip=addresses,
        agent=agent,
        endpoint=np.stack([first, second], axis=1),
        model=np.where(is_person, 0, pick(rng, _CHAT_MODELS, n)),
        shape=rng.integers(0, _SHAPES, (n, 3)),
        tokens_in=lognormal(rng, 700.0, 0.9, n),
        tokens_out=lognormal(rng, 180.0, 0.7, n),
        denied_share=np.where(~is_person & (rng.random(n) < 0.1), 0.01, 0.0),
    )


def _typos(accounts: list[str]) -> tuple[list[str], Codes]:
    """One mistyped name for each account (two letters swapped), where that name is nobody's; else the name itself."""
    taken = set(accounts)
    made: list[str] = []
    codes = np.arange(len(accounts))
    for i, name in enumerate(accounts):
        wrong = name[0] + name[2] + name[1] + name[3:]
        if wrong not in taken:
            codes[i] = len(accounts) + len(made)
            taken.add(wrong)
            made.append(wrong)
    return made, codes


_FIELDS = (
    "messages[].role:string", "messages[].content:string", "model:string", "max_tokens:integer", "temperature:number",
    "top_p:number", "stream:boolean", "tools[].function.name:string", "tools[].function.parameters.type:string",
    "response_format.type:string", "metadata.tenant:string", "metadata.trace:string", "user:string", "seed:integer",
    "input[].text:string", "options.truncate:boolean", "stop[]:string", "logit_bias.*:number",
)  # fmt: skip


def _shape(rng: Rng, index: int) -> BodyShape:
    """One of the structures that client libraries send: a few fields that all have, and some that this one has."""
    own = sorted(rng.choice(np.arange(3, len(_FIELDS)), size=int(rng.integers(1, 8)), replace=False).tolist())
    fields = [*_FIELDS[:3], *(_FIELDS[i] for i in own)]
    return BodyShape(
        hash=f"{(index + 1) * 0x9E3779B97F4A7C15 % (1 << 64):016x}",
        fields=msgspec.Raw(msgspec.json.encode(fields)),
        depth=max(name.count(".") + name.count("[") for name in fields) + 1,
        keys=len(fields) + int(rng.integers(0, 4)),
        longest_array=int(rng.integers(1, 24)),
    )
