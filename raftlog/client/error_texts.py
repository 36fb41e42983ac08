"""What an error says, where it is sent or kept: also one of the user's own that can't say it."""


def text_of(error: BaseException) -> str:
    """Return the text of an error; its class's name if making the text fails.

    A message must be given back whatever its handler has raised, and the text of a user's
    error is the user's code: it may look at what is not there any more.
    """
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (the user's own; what is to be told is the first error)
        return f"{type(error).__name__}, whose text could not be made"


def named_text_of(error: BaseException) -> str:
    """Return the class's name and the text, as a traceback ends."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  (as above)
        return text_of(error)
