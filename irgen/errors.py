"""The errors that irgen raises on purpose: what is wrong, where, and the way out."""


class IrgenError(Exception):
    """Something the user can mend.

    The command line prints the message alone, without a traceback, and exits with `exit_code`.

    Args:
        what: one sentence that names the offending file, field or value.
        fix: what to do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  {self.fix}" if self.fix else self.what


class SettingsError(IrgenError):
    """A manifest or an option that contradicts itself or names something unknown."""

    exit_code = 2


class SourceError(IrgenError):
    """Raw data that is not where, or not what, the settings say."""


class WeightsError(IrgenError):
    """Model weights that are missing, of another architecture, or not finite."""


class StoreError(IrgenError):
    """A stage output or dataset that is damaged, incomplete or belongs to another run."""


class UnreachableError(StoreError):
    """Storage that does not answer now, and may the next time."""


class GateError(IrgenError):
    """A result under the bar that the manifest sets (a verifier that cannot tell infrared, say)."""
