"""One database address, in the spelling that each library wants."""

from service.domain.errors import BadRequest


def plain_url(url: str) -> str:
    """`postgresql://…` as asyncpg wants it. Raises BadRequest for anything else than a Postgres address."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise BadRequest("the database address must look like postgresql://user:password@host:port/name")
    return f"postgresql://{rest}"


def sqlalchemy_url(url: str) -> str:
    """The same address for SQLAlchemy on asyncpg."""
    return plain_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)
