"""The latents of an image size."""

from irgen.errors import SettingsError
from irgen.settings import BaseSettings


def fitting_latents(base: BaseSettings, channels: int, factor: int, multiple: int) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image's latents.

    Args:
        base: the image size.
        channels: of the latents.
        factor: image pixels a latent pixel, of the autoencoder.
        multiple: what sides must be multiples of, in image pixels.

    Raises:
        SettingsError: a side that is no such multiple.
    """
    for name in ("height_px", "width_px"):
        value = getattr(base, name)
        if value % multiple:
            near = f"{max(multiple, value // multiple * multiple)} or {(value // multiple + 1) * multiple}"
            raise SettingsError(
                f"base.{name} = {value} does not fit {base.model}, whose images are multiples of {multiple} pixels",
                f"Set it to {near}.",
            )
    return channels, base.height_px // factor, base.width_px // factor
