"""Random models of a few thousand parameters, of the architectures and file formats of the published verifiers."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from tests.tiny_clip import CAPTIONS, _tokenizer

SIZE_PX = 32
LAYERS = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CLASSES = {0: "tench, Tinca tinca", 1: "street cat", 2: "cat"}
FOUND = {0: "person", 1: "cyclist", 2: "car"}


def tiny_hf_clip(path: Path) -> Path:
    """Save a CLIPModel with its processor: what PickScore is, small."""
    tokenizer = _tokenizer()
    text = LAYERS | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 16,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    vision = LAYERS | {"image_size": SIZE_PX, "patch_size": 8}
    _save(CLIPModel, CLIPConfig(text_config=text, vision_config=vision, projection_dim=16), path)
    CLIPProcessor(_clip_images(), tokenizer).save_pretrained(path)
    return path


def tiny_dinov2(path: Path) -> Path:
    """Save a DINOv2 backbone with its image processor."""
    _save(Dinov2Model, _dinov2(), path)
    _dinov2_images().save_pretrained(path)
    return path


def tiny_dinov2_classifier(path: Path) -> Path:
    """Save a DINOv2 with a linear head over three classes."""
    _save(Dinov2ForImageClassification, _dinov2(id2label=CLASSES, num_labels=len(CLASSES)), path)
    _dinov2_images().save_pretrained(path)
    return path


def tiny_siglip(path: Path) -> Path:
    """Save a SigLIP with its image processor."""
    vision = LAYERS | {"image_size": SIZE_PX, "patch_size": 8}
    text = LAYERS | {"vocab_size": 16, "max_position_embeddings": 8, "projection_size": 32}
    _save(SiglipModel, SiglipConfig(text_config=text, vision_config=vision), path)
    SiglipImageProcessor(size={"height": SIZE_PX, "width": SIZE_PX}).save_pretrained(path)
    return path


def tiny_yolos(path: Path, labels: dict[int, str] = FOUND) -> Path:
    """Save an object detector, whose random boxes are many."""
    config = YolosConfig(
        **LAYERS,
        image_size=[SIZE_PX, SIZE_PX],
        patch_size=8,
        num_detection_tokens=5,
        id2label=labels,
        num_labels=len(labels),
        use_mid_position_embeddings=False,
    )
    _save(YolosForObjectDetection, config, path)
    YolosImageProcessor(size={"height": SIZE_PX, "width": SIZE_PX}, do_pad=False).save_pretrained(path)
    return path


def tiny_image_reward(folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """Save an ImageReward as its checkpoint names it, converted; return it, a BERT tokenizer, and its three parts.

    The parts are not our own: timm's ViT, transformers' BERT with cross-attention and without token types, and a head.
    """
    width = 64
    tokenizer = _bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        max_position_embeddings=40,
        is_decoder=True,
        add_cross_attention=True,
        encoder_width=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = timm.models.vision_transformer.VisionTransformer(
            img_size=SIZE_PX, patch_size=16, embed_dim=128, depth=2, num_heads=2, num_classes=0
        )
        _widen(vision)
        text = BertModel(config, add_pooling_layer=False)
        for layer in text.encoder.layer:
            for name in ("key", "value"):
                setattr(layer.crossattention.self, name, torch.nn.Linear(128, width))
        _widen(text)
        head = torch.nn.Sequential(torch.nn.Linear(width, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1))
    # With cross-attention, but not causal: as BLIP's text encoder is.
    text.config.is_decoder = False
    text.embeddings.token_type_embeddings.weight.data.zero_()
    parts = {"blip.visual_encoder.": vision.eval(), "blip.text_encoder.": text.eval()}
    tensors = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    tensors = {name: value for name, value in tensors.items() if "token_type" not in name}
    tensors |= {f"mlp.layers.{name}": value for name, value in head.state_dict().items()}
    tensors["blip.text_proj.weight"] = torch.zeros(2, 2)
    file, words = folder / "ImageReward.safetensors", folder / "bert"
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    tokenizer.save_pretrained(words)
    return file, words, parts | {"head": head.eval()}


def _dinov2(**arguments: Any) -> Dinov2Config:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    return Dinov2Config(**shape, image_size=SIZE_PX, patch_size=8, **arguments)


def _dinov2_images() -> BitImageProcessor:
    return BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": SIZE_PX, "width": SIZE_PX})


def _clip_images() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": SIZE_PX}, crop_size={"height": SIZE_PX, "width": SIZE_PX})


def _save(model_class: Any, config: object, path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
        _widen(model)
    model.save_pretrained(path)


def _widen(model: torch.nn.Module) -> None:
    """Draw larger weights: with initial ones all images would look alike, and attention would do nothing."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocab = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
