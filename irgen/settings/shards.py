"""Section `shards`: the finished dataset."""

from pydantic import Field

from irgen.settings.common import Settings


class ShardsSettings(Settings):
    """The finished dataset."""

    licence: str = Field("", description="Licence named in the dataset's card.")
    description: str = Field("", description="One paragraph for the card.")
