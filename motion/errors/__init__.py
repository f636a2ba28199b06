"""Error that a user can mend."""


class InputError(Exception):
    """Bad input from outside (a file, a config, a request).

    Its message is one sentence: what was found, what was expected and, where it helps, what to do. Jobs print it
    without a traceback; the server answers 400 with it. It is no ValueError, which tyro and pydantic put in words of
    their own.
    """
