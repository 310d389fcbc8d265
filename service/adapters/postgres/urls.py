"""One database address, in the spelling that each library wants."""

from service.addresses import database_address


def plain_url(url: str) -> str:
    """`postgresql://…` as asyncpg wants it. Raises BadRequest for anything else than a Postgres address."""
    return f"postgresql://{database_address(url).partition('://')[2]}"


def sqlalchemy_url(url: str) -> str:
    """The same address for SQLAlchemy on asyncpg."""
    return plain_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)
