"""Everything that a deployment can set, read in `main` and nowhere inside."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import from_json
from pydantic_settings import NoDecode, SettingsConfigDict

from service.addresses import bootstrap_servers, database_address, host_name, key_set_address, network, origin
from service.domain.errors import BadRequest, LastseenError
from service.imported import Imported
from service.runner_settings import RunnerSettings


class Settings(RunnerSettings):
    """Environment variables, each with the prefix `LASTSEEN_` but `INSTANCE_ID`."""

    model_config = SettingsConfigDict(env_prefix="LASTSEEN_", populate_by_name=True)

    kafka: str = "127.0.0.1:9092"
    """Bootstrap addresses, `host:port,…`."""
    kafka_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a call may wait for Kafka before it is unavailable."""
    append_linger_seconds: float = Field(default=0.0, ge=0, le=1)
    """How long a request to Kafka waits for more to append; 0: what came while one was under way goes in the next."""
    retention_days: int = Field(default=365, ge=0, le=36_500)
    """For how many days before the present one Postgres keeps the log; 0: for ever. Kafka has settings of its own."""
    cursor_days: int = Field(default=90, ge=0, le=36_500)
    """For how many days a durable cursor may rest before it is forgotten; 0: for ever."""
    loss_seconds: float = Field(default=5.0, ge=0)
    """For how long Kafka has to lack records that were read of it, before a new epoch begins."""
    database_url: SecretStr = SecretStr("postgresql://127.0.0.1/lastseen")
    topic: str = "events"
    commands_topic: str = "commands"
    presence_topic: str = "presence"
    jwt_secret: SecretStr | None = None
    """HS256 key of at least 32 bytes. Nodes do not start without it or `jwks_url`."""
    jwks_url: str | None = None
    """Where the issuer publishes its keys (RFC 7517), for tokens signed with RS256, ES256 or EdDSA.
    `https`, except on loopback."""
    jwks_refresh_seconds: float = Field(default=10.0, ge=1)
    """The least time between two fetches of the keys, however many tokens name one that is not known."""
    jwks_max_age_seconds: float = Field(default=300.0, ge=1)
    """After so long keys are fetched anew, so that one that was withdrawn is forgotten."""
    jwt_audience: str | None = Field(default=None, min_length=1)
    """What every token has to name in `aud`, where it is set."""
    jwt_issuer: str | None = Field(default=None, min_length=1)
    """What every token has to name in `iss`, where it is set."""
    jwt_leeway_seconds: int = Field(default=5, ge=0, le=300)
    """How far the clocks of issuer and node may differ."""
    ticket_seconds: int = Field(default=30, ge=1, le=3600)
    """For how long a ticket is good."""
    max_tickets_per_user: int = Field(default=100, ge=1)
    """Tickets of one user that are neither spent nor expired, over all nodes."""
    tickets_per_second: float = Field(default=10.0, gt=0)
    """Tickets that one user may ask a node for; at once ten times as many."""
    sign_in_seconds: int = Field(default=600, ge=1, le=86_400)
    """For how long a code that signs in to the console is good."""
    session_seconds: int = Field(default=8 * 3600, ge=60, le=30 * 86_400)
    """For how long a token of the console is good; while it is, it can be renewed."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins (`https://app.example.com,…`) of the pages that may open a WebSocket or read an event
    stream; none: any page."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names or addresses, without ports, by which clients may call a node, besides those of loopback.
    None: a node on loopback takes loopback's only, any other node takes any."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks (`10.0.0.0/8,…`) whose `X-Forwarded-For` is believed."""
    instance_id: str = Field(default="node", validation_alias="INSTANCE_ID")
    """Names this process in messages and logs."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What a node writes to its log. Access tokens and tickets are in it at no level."""
    look_back: int = Field(default=10_000, ge=1)
    """W of the void rule, in offsets; the same in every process of a deployment."""
    partitions: int = Field(default=12, ge=1, le=1000)
    """Partitions of a topic that is created."""
    max_event_bytes: int = Field(default=256 * 1024, ge=1024, le=900_000)
    """The longest JSON of one event."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The longest body of one HTTP request."""
    window_bytes: int = Field(default=128 * 1024 * 1024, ge=0)
    """Memory for the newest records of all partitions."""
    window_offsets: int = Field(default=2_000, ge=0)
    """Offsets per partition that a node reads back when it starts."""
    high_water_bytes: int = Field(default=256 * 1024, ge=1024)
    """What may wait in a connection before its subscriptions fall behind."""
    history_reads: int = Field(default=4, ge=1)
    """Pages of the Postgres log that a node reads at once; further ones wait, and readers take turns."""
    direct_writes: bool = True
    """Whether frames go to the server's transport as they are; else through ASGI, as on any other server."""
    native_sends: bool = True
    """Whether live frames are sent by the native loop, where it was built; else from Python."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024)
    """The longest message that a client may send."""
    max_subscriptions: int = Field(default=10_000, ge=1)
    """Subscriptions of one connection."""
    max_connections: int = Field(default=100_000, ge=1)
    """Connections of one node."""
    max_connections_per_user: int = Field(default=100, ge=1)
    """Connections of one user on a node."""
    max_connections_per_address: int = Field(default=1000, ge=1)
    """Connections from one address (of IPv6: one /64) on a node; loopback is left out."""
    max_subscriptions_per_user: int = Field(default=50_000, ge=1)
    """Subscriptions of one user on a node, over all connections."""
    returns_per_second: float = Field(default=2000.0, gt=0)
    """At what rate the other nodes can take back the clients of this one: when it goes away, they are told to spread
    their return over as many seconds as that takes."""
    messages_per_second_per_user: float = Field(default=200.0, gt=0)
    """Messages that a user may send to a node in the long run, over all connections; at once ten times as many.
    One counts once more for each KiB."""
    messages_per_second_per_address: float = Field(default=2000.0, gt=0)
    """The same for an address; loopback is left out."""
    failures_per_second_per_address: float = Field(default=20.0, gt=0)
    """Tokens and tickets that were refused, from one address in the long run; at once ten times as many.
    Past it nobody is let in from there for a moment. Loopback is left out."""
    request_head_seconds: float = Field(default=10.0, gt=0)
    """How long a client may take for the head of a request, a WebSocket's hand-shake included."""
    heartbeat_seconds: int = Field(default=30, ge=1)
    """Between two pings of the server."""
    heartbeat_timeout_seconds: int = Field(default=90, ge=2)
    """Silence of a client after which its connection is closed with 4408."""
    stream_keepalive_seconds: float = Field(default=15.0, gt=0)
    """Silence of an event stream after which it says how far it has come."""
    stream_seconds: float | None = Field(default=None, gt=0)
    """After so long an event stream ends, and its client comes back, to another node perhaps; unset: never."""
    command_deadline_seconds: float = Field(default=10.0, gt=0, le=3600)
    """How long after it was sent a command may still be applied; its sender waits a little longer for the receipt."""
    max_waiting_commands: int = Field(default=10_000, ge=1)
    """Commands of all clients of a node that wait for their receipts."""
    max_waiting_commands_per_connection: int = Field(default=100, ge=1)
    """Commands of one connection that wait for their receipts."""
    presence_lease_seconds: float = Field(default=15.0, ge=0.5)
    """How long after its last sign of life (three come in that time) a node counts as lost, with its connections."""
    presence_grace_seconds: float = Field(default=10.0, ge=0)
    """How long a user may be without a connection before `user_offline` says so."""
    trust_project_claims: bool = False
    """Whether the `projects` of a token make its user a member where the log does not say otherwise."""
    authority: Imported | None = None
    """`module:function` of a deployment's own authority: it is given the port `Access` as the log fulfils it, and
    gives back what is asked instead."""
    extensions: Annotated[list[Imported], NoDecode] = Field(default_factory=list)
    """JSON array of `module:function`: each is given the registry of messages, to add types of its own."""
    remembered_tasks: int = Field(default=50_000, ge=1)
    """Tasks whose project and owner a node keeps in memory; older ones are asked for in Postgres."""
    settle_seconds: float = Field(default=2.0, ge=0)
    """How long a denial may wait for the tail to pass what the log holds."""

    @property
    def cursor_rest(self) -> timedelta | None:
        """How long a durable cursor may rest; None for ever."""
        return timedelta(days=self.cursor_days) if self.cursor_days else None

    @field_validator("kafka")
    @classmethod
    def _check_kafka(cls, value: str) -> str:
        try:
            return bootstrap_servers(value)
        except BadRequest as error:
            raise ValueError(str(error)) from error

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        try:
            database_address(value.get_secret_value())
        except BadRequest as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, value: str | None) -> str | None:
        try:
            return None if value is None else key_set_address(value)
        except BadRequest as error:
            raise ValueError(str(error)) from error

    @field_validator("extensions", mode="before")
    @classmethod
    def _read_extensions(cls, value: object) -> object:
        try:
            read = from_json(value) if isinstance(value, str) else value
        except ValueError:
            read = None
        if not isinstance(read, list):
            raise ValueError('has to look like ["module:function", …], in JSON')
        return read

    @field_validator("allowed_origins", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        read = {"allowed_origins": origin, "allowed_hosts": host_name, "trusted_proxies": network}[str(info.field_name)]
        try:
            return tuple(read(part.strip()) for part in value.split(",") if part.strip())
        except BadRequest as error:
            raise ValueError(str(error)) from error


def read_settings() -> Settings:
    """The settings of this process's environment. Raises LastseenError, which names each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{_variable(one['loc'][0])}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        )
        # Without its cause, which quotes what was given: that may be a secret.
        raise LastseenError(wrong) from None


def _variable(field: object) -> str:
    return "INSTANCE_ID" if field == "INSTANCE_ID" else f"LASTSEEN_{str(field).upper()}"
