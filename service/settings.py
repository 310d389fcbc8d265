"""Everything that a deployment can set, read in `main` and nowhere inside."""

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.addresses import bootstrap_servers, database_address
from service.domain.errors import BadRequest, LastseenError


class Settings(BaseSettings):
    """Environment variables, each with the prefix `LASTSEEN_` but `INSTANCE_ID`."""

    model_config = SettingsConfigDict(env_prefix="LASTSEEN_", populate_by_name=True)

    kafka: str = "127.0.0.1:9092"
    """Bootstrap addresses, `host:port,…`."""
    kafka_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a call may wait for Kafka before it is unavailable."""
    database_url: SecretStr = SecretStr("postgresql://127.0.0.1/lastseen")
    topic: str = "events"
    commands_topic: str = "commands"
    presence_topic: str = "presence"
    jwt_secret: SecretStr | None = None
    """HS256 key of at least 32 bytes; nodes do not start without it."""
    instance_id: str = Field(default="node", validation_alias="INSTANCE_ID")
    """Names this process in messages and logs."""
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
    direct_writes: bool = True
    """Whether frames go to the server's transport as they are; else through ASGI, as on any other server."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024)
    """The longest message that a client may send."""
    max_subscriptions: int = Field(default=10_000, ge=1)
    """Subscriptions of one connection."""
    max_connections: int = Field(default=100_000, ge=1)
    """Connections of one node."""
    heartbeat_seconds: int = Field(default=30, ge=1)
    """Between two pings of the server."""
    heartbeat_timeout_seconds: int = Field(default=90, ge=2)
    """Silence of a client after which its connection is closed with 4408."""
    settle_seconds: float = Field(default=2.0, ge=0)
    """How long a denial may wait for the tail to pass what the log holds."""

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
