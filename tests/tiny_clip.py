"""A random CLIP of some ten thousand parameters in open_clip's folder format, and pictures on which it can learn."""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from irgen.captions.forms import GRAYSCALE_PREFIX, INFRARED_PREFIX
from irgen.verifiers.examples import Examples

HEIGHT_PX, WIDTH_PX = 16, 24
CONTEXT = 16
CAPTIONS = ("one person on a road", "two people on a road", "three people on a road")
MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": [HEIGHT_PX, WIDTH_PX], "patch_size": 8, "width": 32, "head_width": 16, "layers": 2},
    "text_cfg": {"context_length": CONTEXT, "width": 32, "heads": 2, "layers": 1},
}


def tiny_clip(path: Path, own_tokenizer: bool = True, quick_gelu: bool = False) -> Path:
    """Save the model into a folder and return it; without an own tokenizer it has open_clip's 49,408 words."""
    path.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps(MODEL))
    config["quick_gelu"] = quick_gelu
    if own_tokenizer:
        tokenizer = _tokenizer()
        tokenizer.save_pretrained(path)
        config["text_cfg"] |= {"vocab_size": len(tokenizer), "hf_tokenizer_name": "tiny"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.model.CLIP(
            config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=quick_gelu
        )
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, path / "open_clip_model.safetensors"
    )
    preprocess = {"mean": [0.4, 0.4, 0.4], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"}
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return path


def examples(count: int, seed: int = 0) -> Examples:
    """Draw LWIR images with as many warm spots as the caption says, and negatives that are striped, not smooth."""
    rng = np.random.default_rng(seed)
    people = rng.integers(3, size=count)
    lwir = np.stack([scene(int(number), rng) for number in people])
    gray = np.stack([striped(image) for image in lwir])
    owners = np.arange(count)
    return Examples(
        tuple(CAPTIONS[number] for number in people),
        _channels_first(lwir),
        {"gray": _channels_first(gray), "inverted": _channels_first(255 - gray)},
        {"gray": owners, "inverted": owners},
    )


def scene(number: int, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 [16, 24, 3]: warm spots in the first thirds of a dark, noisy image, one more than `number`."""
    image = rng.integers(20, 60, (HEIGHT_PX, WIDTH_PX, 1))
    for third in range(number + 1):
        image[2:14, 8 * third + 1 : 8 * third + 7] += 150
    return np.repeat(image, 3, axis=2).astype(np.uint8)


def striped(image_u8: np.ndarray) -> np.ndarray:
    """Return the image with every other row brighter."""
    image = image_u8.astype(np.int64)
    image[::2] += 40
    return image.clip(0, 255).astype(np.uint8)


def _channels_first(images_u8: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images_u8).permute(0, 3, 1, 2).contiguous()


def _tokenizer() -> CLIPTokenizer:
    """Return a byte-pair tokenizer that knows the captions' words, and any other by its letters."""
    words = {word.lower() for text in (*CAPTIONS, INFRARED_PREFIX, GRAYSCALE_PREFIX) for word in text.split()}
    letters = [chr(code) for code in range(33, 127)]
    vocab = {token: k for k, token in enumerate([*letters, *(letter + "</w>" for letter in letters)])}
    merges: list[tuple[str, str]] = []
    for word in sorted(words, key=lambda word: (-len(word), word)):  # or "on" would split "person"
        parts = [*word[:-1], word[-1] + "</w>"]
        piece = parts[0]
        for part in parts[1:]:
            if (piece, part) not in merges:
                merges.append((piece, part))
            piece += part
            vocab.setdefault(piece, len(vocab))
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)
