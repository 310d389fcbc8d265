"""What an embedded server can fail with.

Every message is one sentence for the person at the terminal: what was wrong and what would mend it.
"""


class EmbeddedError(Exception):
    """An embedded server can't be had or can't run; the message says why and what to do."""


class DataDirError(EmbeddedError):
    """The data directory can't be used as it is: choose another one, or mend what the message names."""


class FetchError(EmbeddedError):
    """Something that is fetched once could not be had, or is not what the lock says."""


class StartError(EmbeddedError):
    """A child process did not become ready; the message names its log."""
