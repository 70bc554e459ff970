"""Frame -> caption: by rule from annotations, or by a vision-language model that the rules keep honest."""
