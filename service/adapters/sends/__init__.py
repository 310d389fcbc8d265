"""The same frames to many descriptors: natively where that was built, else from Python. Both keep `ports.SendAll`."""

from service.ports import SendAll


def sends(*, native: bool) -> tuple[SendAll, str]:
    """What sends, and what it is, for the log. `native`: by the native loop, where it was built."""
    if native:
        try:
            from service.adapters.sends import _native
        except ImportError as error:
            return _from_python(f"the native loop is not there: {error}")
        return _native.send_all, "by the native loop"
    return _from_python("as was set")


def _from_python(why: str) -> tuple[SendAll, str]:
    from service.adapters.sends.python import send_all

    return send_all, f"from Python ({why})"
