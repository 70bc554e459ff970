"""Random vision-language models of a few thousand parameters, saved as their large namesakes are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from irgen.captions.vlm import INSTRUCTION

WORDS = tuple(
    f"{size}-{thing}" for size in ("small", "wide", "tall") for thing in ("bus", "car", "road", "sign", "tree")
)
ASKED = tuple(dict.fromkeys(INSTRUCTION.split()))
BASIC = ("<pad>", "<s>", "</s>", "<unk>")
TEXT = {"vocab_size": 0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|> <|image_pad|> <|vision_end|> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
)


def tiny_blip2(path: Path) -> Path:
    """Save a BLIP-2: images alone in, the caption out."""
    tokenizer = _tokenizer(["<image>"])
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        qformer_config={**tower, "encoder_hidden_size": 16, "vocab_size": 8},
        text_config={
            **TEXT,
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "ffn_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        },
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(Blip2ForConditionalGeneration, config, path)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    Blip2Processor(processor, tokenizer, num_query_tokens=4).save_pretrained(path)
    return path


def tiny_qwen2_vl(path: Path) -> Path:
    """Save a Qwen2-VL: a chat with an image in, the answer after the prompt out."""
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer = _tokenizer(marks)
    image, video, start, end = tokenizer.convert_tokens_to_ids(marks)
    config = Qwen2VLConfig(
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4},
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    _save(Qwen2VLForConditionalGeneration, config, path)
    processor = Qwen2VLImageProcessor(patch_size=4, merge_size=2, min_pixels=64, max_pixels=1024)
    video_processor = Qwen2VLVideoProcessor(patch_size=4, merge_size=2)
    Qwen2VLProcessor(processor, tokenizer, video_processor, chat_template=CHAT).save_pretrained(path)
    return path


def tiny_florence2(path: Path) -> Path:
    """Save a Florence-2: a task's name and an image in, the answer of an encoder-decoder out."""
    tokenizer = _tokenizer({"image_token": "<image>"})
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = Florence2Config(
        vision_config={
            "depths": (1,),
            "patch_size": (7,),
            "patch_stride": (4,),
            "patch_padding": (3,),
            "patch_prenorm": (False,),
            "embed_dim": (16,),
            "num_heads": (2,),
            "num_groups": (2,),
            "window_size": 4,
            "projection_dim": 16,
            "drop_path_rate": 0.0,
        },
        text_config={
            **TEXT,
            **layers,
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": 16,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "max_position_embeddings": 128,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": None,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(Florence2ForConditionalGeneration, config, path)
    processor = CLIPImageProcessor(size={"height": 16, "width": 16}, do_center_crop=False)
    processor.image_seq_length = 17
    Florence2Processor(processor, tokenizer).save_pretrained(path)
    return path


def _save(model_class: type, config: object, path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
    # A word is always likelier than what stands before the words in the vocabulary: the model never falls silent.
    model.get_output_embeddings().weight.data[: -len(WORDS)] = 0
    model.save_pretrained(path)


def _tokenizer(marks: Sequence[str] | Mapping[str, str]) -> PreTrainedTokenizerFast:
    special = marks.values() if isinstance(marks, Mapping) else marks
    vocab = {word: k for k, word in enumerate([*BASIC, *special, *ASKED, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=marks,
    )
