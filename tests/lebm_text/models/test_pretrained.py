"""A pretrained decoder as the generator: a tiny GPT-2, written here, trained with z in front of it, and read again."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text import LatentEBM, train
from lebm_text.build import build_model
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.generation.decoding import decode
from lebm_text.generation.guidance import guided
from lebm_text.generation.settings import DecodeSettings
from lebm_text.models import pretrained
from lebm_text.models.attention import without_cudnn_attention
from lebm_text.run import Run
from lebm_text.samplers.langevin import langevin
from lebm_text.store import read_json
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.pretrained import PretrainedTokenizer, decoder_sha256
from lebm_text.text.tokenizers import load_tokenizer
from lebm_text.weights import load_weights
from lm_eval import fppl

from ..sharing.fake_hub import silent_hub
from ..toy import by_steps, gap, normal, seeded, toy_config, write_text_corpus

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SENTENCES = ["the cat sees a dog .", "a dog", "the é sees <|endoftext|> !"]


def _gpt2(vocab_size: int) -> Any:
    return transformers.GPT2Config(vocab_size=vocab_size, n_positions=32, n_embd=16, n_layer=1, n_head=2)


def write_decoder(
    directory: Path, bos: str = "<|endoftext|>", unk: str | None = None, *, seed: int = 0, config: Any = _gpt2
) -> Path:
    """A decoder of a configuration, such as a GPT-2 of one layer, and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = list(dict.fromkeys(["<|endoftext|>", bos, *([unk] if unk else [])]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        ["the cat sees a dog"] * 3,
        trainers.BpeTrainer(vocab_size=270, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token="<|endoftext|>", unk_token=unk or "<|endoftext|>"
    )
    fast.save_pretrained(str(directory))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.AutoModelForCausalLM.from_config(config(len(fast))).save_pretrained(str(directory))
    return directory


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decoder(tmp_path_factory.mktemp("decoder") / "gpt2")


def _config(decoder: Path, **generator: Any) -> Config:
    model = {"generator": f"hf:{decoder}", "latent_dim": 3, "prior_hidden_dim": 5, "init_range": 0.5}
    plain = toy_config({"text": {"max_length": 20}, "training": {"n_epochs": 1}})
    rank = {"lora_rank": 2} if generator.get("adapt") == "lora" else {}
    return plain.merge({"model": model, "generator": {"n_prefix": 2} | rank | generator})


def _generator(decoder: Path, **generator: Any) -> Any:
    tokenizer = PretrainedTokenizer.of(str(decoder))
    config = _config(decoder, **generator)
    made = build_model(config, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=seeded(1)).generator
    return tokenizer, made


def _batch(tokenizer: PretrainedTokenizer) -> Any:
    corpus = EncodedCorpus(*tokenizer.encode_many(SENTENCES))
    return corpus.batch(np.arange(len(SENTENCES)))


@pytest.mark.parametrize("specials", [(), ("<|begin|>", "<unk>")])
def test_text_comes_back_and_what_it_spells_is_text(specials: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer = PretrainedTokenizer.of(str(write_decoder(tmp_path / "decoder", *specials)))
    for sentence in SENTENCES:
        ids = tokenizer.encode(sentence)
        assert tokenizer.decode(ids) == sentence
        assert not {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id} & set(ids)
    assert tokenizer.decode([tokenizer.unk_id, *tokenizer.encode("cat")]) == "<unk> cat"
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.encode(SENTENCES[0]) == tokenizer.encode(SENTENCES[0])
    stored = (tmp_path / again.file).read_text()
    (tmp_path / again.file).write_text(stored.replace('"lowercase": false', '"lowercase": true'))
    with pytest.raises(InputError, match="not as it was written"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_a_later_library_and_a_missing_library_are_one_line(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(_: str) -> None:
        raise Exception("Unknown tokenizer version")  # as the library does

    PretrainedTokenizer.of(str(decoder)).save(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(tokenizers, "Tokenizer", SimpleNamespace(from_str=later))
        with pytest.raises(InputError, match=r"json is broken: not a tokenizer, or one of a later version \(Unknown"):
            load_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"^\S*hf-tokenizer.json needs tokenizers: pip install 'lebm-text\[hf\]'$"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("specials", [(), ("<|begin|>", "<unk>")])
def test_every_piece_has_one_id_and_steps_agree_with_the_likelihood(specials: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer, generator = _generator(write_decoder(tmp_path, *specials))
    batch, z = _batch(tokenizer), normal(len(SENTENCES), 3).float()
    logits, _ = generator.step(torch.full((3,), tokenizer.bos_id), generator.start(z))
    reachable = logits[0].isfinite()
    assert int(reachable.sum()) == len(tokenizer) - 4
    assert reachable[tokenizer.eos_id] and not reachable[tokenizer.pad_id]
    wanted = generator.log_likelihood(batch, z).detach()
    assert gap(by_steps(generator, batch, z, len(tokenizer)), wanted) < 1e-4
    assert gap(generator.likelihood(batch)(torch.stack([z, z]))[1].detach(), wanted) < 1e-4
    alone = EncodedCorpus(*tokenizer.encode_many(SENTENCES[1:2])).batch(np.arange(1))
    row = batch.index.tolist().index(1)
    assert gap(generator.log_likelihood(alone, z[row : row + 1]).detach(), wanted[row : row + 1]) < 1e-4


def _llama(vocab_size: int) -> Any:
    """With rotary places, heads that share keys, and windows shorter than the sentences."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "sliding_window": 4}
    return transformers.MistralConfig(vocab_size=vocab_size, initializer_range=0.3, **sizes, **heads)


def _bloom(vocab_size: int) -> Any:
    """Which is told no places."""
    return transformers.BloomConfig(vocab_size=vocab_size, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3)


@pytest.mark.parametrize("config", [_gpt2, _llama, _bloom])
def test_words_are_read_once_and_rows_of_different_lengths_go_on_together(config: Any, tmp_path: Path) -> None:
    tokenizer, generator = _generator(write_decoder(tmp_path, config=config))
    batch, z = _batch(tokenizer), normal(3, 3).float()
    wanted = generator.log_likelihood(batch, z).detach()
    assert gap(by_steps(generator, batch, z, len(tokenizer)), wanted) < 1e-4
    assert gap(wanted, generator.log_likelihood(batch, z[[1, 2, 0]]).detach()) > 1e-3
    ids, begin = tokenizer.encode("a dog sees the cat and"), torch.tensor([tokenizer.bos_id])
    _, one = generator.step(begin, generator.start(z[:1]))
    for each in ids[:-1]:
        _, one = generator.step(torch.tensor([each]), one)
    joined = one.join(generator.start(z[1:2]))
    together, state = generator.step(torch.tensor([ids[-1], tokenizer.bos_id]), joined)
    alone, _ = generator.step(torch.tensor(ids[-1:]), one)
    first, _ = generator.step(begin, generator.start(z[1:2]))
    assert torch.allclose(together, torch.cat([alone, first]), atol=1e-5)
    young = state.select(torch.tensor([1, 1]))
    assert young.n_columns == generator.n_prefix + 1
    again, _ = generator.step(torch.tensor([ids[0], ids[1]]), young)
    both, _ = generator.step(torch.tensor([ids[1], ids[0]]), state)
    assert torch.allclose(again[0], both[1], atol=1e-5)


def test_a_decoder_that_does_not_read_on_from_keys_and_values_is_refused(tmp_path: Path) -> None:
    def mamba(vocab_size: int) -> Any:
        return transformers.MambaConfig(vocab_size=vocab_size, hidden_size=16, num_hidden_layers=1, state_size=4)

    with pytest.raises(InputError, match="does not read word after word as a causal transformer") as refused:
        _generator(write_decoder(tmp_path, config=mamba))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_decoder_that_sees_what_comes_or_counts_places_otherwise_is_refused(is_decoder: bool, tmp_path: Path) -> None:
    def roberta(vocab_size: int) -> Any:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        more = {"max_position_embeddings": 40, "initializer_range": 0.5, "is_decoder": is_decoder}
        return transformers.RobertaConfig(vocab_size=vocab_size, **sizes, **more)

    with pytest.raises(InputError, match=r"log p is -\d+\.\d+ at once and"):
        _generator(write_decoder(tmp_path, config=roberta))


def test_a_decoder_without_some_of_its_weights_is_refused(tmp_path: Path) -> None:
    place = write_decoder(tmp_path / "decoder", config=_llama)
    body = transformers.AutoModel.from_pretrained(str(place))
    for file in place.glob("*.safetensors"):
        file.unlink()
    body.save_pretrained(str(place))
    with pytest.raises(InputError, match=r"has no weights for lm_head\.weight"):
        _generator(place)


def test_program_code_of_a_decoder_is_not_run_and_nobody_is_asked(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger, ran = Path(shutil.copytree(decoder, tmp_path / "stranger")), tmp_path / "ran"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (stranger / "config.json").write_text(json.dumps(read_json(stranger / "config.json") | own), encoding="utf-8")
    (stranger / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n", encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda _="": pytest.fail("somebody is asked"))
    with pytest.raises(InputError, match=r"cannot be read: it needs program code of its own, which is not run$"):
        _generator(stranger)
    assert not ran.exists()


def test_special_ids_that_change_are_another_decoder(decoder: Path, tmp_path: Path) -> None:
    place = tmp_path / "decoder"
    shutil.copytree(decoder, place)
    before = decoder_sha256(place, str(place))
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": "a"}))
    assert decoder_sha256(place, str(place)) != before


@pytest.mark.parametrize("how", ["sample", "greedy", "beam"])
def test_guidance_never_gives_an_id_that_is_no_piece(how: str, decoder: Path) -> None:
    tokenizer, generator = _generator(decoder)
    generator.register_parameter("null_latent", torch.nn.Parameter(normal(3).float()))
    step, state = guided(generator, normal(4, 3).float(), 2.0)
    logits, _ = step(torch.full((4,), tokenizer.bos_id), state)
    assert not logits.isnan().any()
    assert torch.equal(logits.isneginf(), generator.vacant.expand(4, -1))
    settings, rng = DecodeSettings(how), seeded()
    found = decode(
        step,
        state,
        4,
        settings,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        max_length=5,
        uniforms=lambda k: torch.rand(4, k, generator=rng),
    )
    assert not {0, 1, 2} & {i for ids in found.ids for i in ids}
    assert any(found.ids)


def test_a_tokenizer_with_gaps_between_its_ids_is_read(decoder: Path, tmp_path: Path) -> None:
    place = tmp_path / "decoder"
    shutil.copytree(decoder, place)
    stored = json.loads((place / "tokenizer.json").read_text())
    vocabulary = stored["model"]["vocab"]
    vocabulary[next(name for name, i in vocabulary.items() if i == len(vocabulary) - 1)] += 5
    (place / "tokenizer.json").write_text(json.dumps(stored))
    tokenizer = PretrainedTokenizer.of(str(place))
    assert len(tokenizer) == len(PretrainedTokenizer.of(str(decoder))) + 5
    assert tokenizer.decode(tokenizer.encode(SENTENCES[0])) == SENTENCES[0]
    assert tokenizer.decode([len(tokenizer) - 3, *tokenizer.encode("cat")]) == "cat"


def test_chains_follow_z_through_the_decoder(decoder: Path) -> None:
    tokenizer, generator = _generator(decoder)
    likelihood, start = generator.likelihood(_batch(tokenizer)), normal(3, 3).float()
    z = langevin(likelihood, start, step_size=1.0, n_steps=30, noise_scale=0.0, rng=seeded())
    assert (likelihood(z) > likelihood(start)).all()
    assert all(each.grad is None for each in generator.parameters())


def test_on_a_gpu_attention_is_not_cudnn_s(
    decoder: Path, by_cudnn: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """See `test_transformer`."""
    tokenizer, generator = _generator(decoder)
    monkeypatch.setattr(pretrained, "without_cudnn_attention", lambda _: without_cudnn_attention(torch.device("cuda")))
    by_cudnn.clear()  # the decoder was tried as it was loaded
    generator.likelihood(_batch(tokenizer))(normal(3, 3).float())
    assert by_cudnn and not any(by_cudnn)


def test_dropout_and_precision_are_those_asked_for(decoder: Path) -> None:
    tokenizer = PretrainedTokenizer.of(str(decoder))
    batch, z, found = _batch(tokenizer), normal(3, 3).float(), {}
    for dropout, precision in ((0.0, "fp32"), (0.4, "fp32"), (0.0, "bf16")):
        config = _config(decoder).merge({"model": {"dropout": dropout}, "training": {"precision": precision}})
        made = build_model(config, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=seeded(1)).generator
        first, again, other = (made.log_likelihood(batch, z, rng=seeded(i)).detach() for i in (1, 1, 2))
        in_chain = made.likelihood(batch)(z).detach()  # which drops nothing
        assert torch.equal(first, again)
        assert (gap(first, other) > 0.01) == (gap(first, in_chain) > 0.01) == (dropout > 0)
        found[dropout, precision] = in_chain
    assert gap(found[0.4, "fp32"], found[0.0, "fp32"]) < 1e-4
    assert 1e-4 < gap(found[0.0, "bf16"], found[0.0, "fp32"]) < 0.5


def test_the_prefix_begins_as_the_first_word_and_low_rank_terms_as_nothing(decoder: Path) -> None:
    pytest.importorskip("peft")
    tokenizer, generator = _generator(decoder, adapt="lora")
    begin = generator.decoder.get_input_embeddings().weight[generator.pieces[tokenizer.bos_id]]
    assert torch.equal(generator.prefix.bias.view(2, -1), begin.expand(2, -1))
    layers = [module for module in generator.decoder.modules() if hasattr(module, "lora_A")]
    assert layers
    for layer in layers:
        a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
        bound = a.shape[1] ** -0.5
        assert 0.5 * bound < float(a.abs().max()) <= bound
        assert not b.any()
        b.copy_(normal(*b.shape))
        x = normal(4, a.shape[1], seed=1).float()
        assert gap(layer(x) - layer.base_layer(x), 2 * x @ a.T @ b.T) < 1e-5


def test_sentences_may_be_as_long_as_the_positions_allow(decoder: Path) -> None:
    """Of 32 two are taken by z and one by `<s>`."""
    build: dict[str, Any] = {"vocab_size": 270, "bos_id": 2, "rng": seeded()}
    build_model(_config(decoder).merge({"text": {"max_length": 29}}), **build)
    with pytest.raises(InputError, match=re.escape("text.max_length = 30, <s>")):
        build_model(_config(decoder).merge({"text": {"max_length": 30}}), **build)


@pytest.mark.parametrize("adapt", ["frozen", "lora", "full"])
def test_a_run_trains_stops_goes_on_generates_and_is_judged(adapt: str, decoder: Path, tmp_path: Path) -> None:
    if adapt == "lora":
        pytest.importorskip("peft")
    corpus = write_text_corpus(tmp_path / "text", n_train=24)
    config, begun = _config(decoder, adapt=adapt), {name: each.read_bytes() for name, each in _files(decoder).items()}
    whole = train(corpus, config=config, out=tmp_path / "whole", device="cpu")
    part = train(corpus, config=config, out=tmp_path / "part", device="cpu", max_steps=2)
    train(out=part.path, resume=True, device="cpu")
    assert part.weights_sha256 == whole.weights_sha256
    held, _ = load_weights(whole.weights_file)
    of_decoder = [name for name in held if "decoder" in name]
    assert ("generator.decoder.transformer.wte.weight" in of_decoder) == (adapt == "full")
    if adapt == "lora":
        assert of_decoder and all("lora_" in name for name in of_decoder)
        assert any(held[name].abs().sum() > 0 for name in of_decoder if "lora_B" in name)
    assert "generator.prefix.weight" in held
    assert {name: each.read_bytes() for name, each in _files(decoder).items()} == begun
    assert read_json(whole.path / "config.json")["generator"]["sha256"] == decoder_sha256(decoder, str(decoder))
    model = LatentEBM.from_pretrained(whole.path, device="cpu")
    samples = model.generate(6).sentences
    assert samples == Run(part.path).model(device="cpu").generate(6, batch_size=2).sentences
    assert len(model.reconstruct(["a b", "b"])) == 2
    real = list(whole.corpus().splits["train"].sentences())
    assert fppl([each or "a" for each in samples], real, judge="kn2").ppl > 1
    model.save_pretrained(tmp_path / "copy")
    assert LatentEBM.from_pretrained(tmp_path / "copy", device="cpu").generate(6).sentences == samples


def _files(directory: Path) -> dict[str, Path]:
    return {path.name: path for path in directory.iterdir()}


def test_another_decoder_is_refused(decoder: Path, tmp_path: Path) -> None:
    place = tmp_path / "decoder"
    shutil.copytree(decoder, place)
    corpus = write_text_corpus(tmp_path / "text", n_train=8)
    run = train(corpus, config=_config(place), out=tmp_path / "run", device="cpu", max_steps=1)
    write_decoder(place, seed=1)
    with pytest.raises(InputError, match="is another decoder than this run began with"):
        LatentEBM.from_pretrained(run.path, device="cpu")
    shutil.rmtree(place)
    with pytest.raises(InputError, match="there is no such directory"):
        train(out=run.path, resume=True, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {"max_length": 31}}, "text.max_length = 31, <s> and generator.n_prefix = 2 need 34 positions"),
        ({"text": {"vocab_size": 50}}, "text.vocab_size has no effect with model.generator = hf:"),
        ({"text": {"tokenizer": "word"}}, "text.tokenizer = hf belongs to model.generator = hf:NAME"),
        ({"model": {"tied": True}}, "model.tied has no effect with model.generator = hf:"),
        ({"model": {"word_dropout": 0.1}}, "model.word_dropout has no effect"),
        ({"generator": {"adapt": "half"}}, "generator.adapt must be frozen or lora or full, got 'half'"),
        ({"generator": {"rank": 4}}, "unknown key generator.rank"),
        ({"generator": {"lora_rank": 4}}, "generator.lora_rank has no effect with generator.adapt = frozen or full"),
        ({"model": {"hidden_dim": 9}}, "model.hidden_dim has no effect with model.generator = hf:"),
        ({"training": {"init": "runs/x"}}, "training.init = runs/x has no effect"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str, decoder: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build_model(_config(decoder).merge(changes), vocab_size=270, bos_id=2, rng=seeded())


def test_the_pieces_come_and_go_with_the_decoder(decoder: Path) -> None:
    config = _config(decoder)
    assert config.text.tokenizer == "hf"
    back = config.override(["model.generator=lstm"])
    assert (back.text.tokenizer, back.to_dict()["generator"]) == ("word", {})
    assert Config.from_dict(config.to_dict()) == config


def test_a_missing_package_and_a_directory_without_a_decoder_are_one_line(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="hf:") as refused:
            PretrainedTokenizer.of(name)
        assert "\n" not in str(refused.value)
    with silent_hub(monkeypatch), pytest.raises(InputError, match=r"= hf:user/none cannot be read: .*timed out; its"):
        PretrainedTokenizer.of("user/none")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs transformers: pip install 'lebm-text\[hf\]'"):
        PretrainedTokenizer.of(str(decoder))
