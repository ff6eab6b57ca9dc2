"""The training verbs as a user gives them: fit, resume, validate, test, --init, and one line for every mistake."""

import csv
import re
from pathlib import Path

import pytest
import torch
import yaml

from gendesign.errors import CheckpointError, ConfigError, DataError
from gendesign.loading import load_backbone
from gendesign.rewards import load_predictor
from gendesign.training.command import main
from gendesign.training.parser_errors import one_line

CODEC = {"class_path": "gendesign.codecs.DNACodec", "init_args": {"length": 12}}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six steps on a table of thirty rows, with everything that the shipped config has."""
    monkeypatch.chdir(tmp_path)
    noise = torch.Generator().manual_seed(0)
    rows = ["".join("ACGT"[i] for i in torch.randint(0, 4, (12,), generator=noise)) for _ in range(30)]
    (tmp_path / "table.csv").write_text(
        "sequence,group,gene_promoter\n" + "".join(f"{r},{i},{i}\n" for i, r in enumerate(rows))
    )
    shipped = Path(__file__).parents[2] / "configs" / "train" / "dna_yeast_promoter.yaml"
    text = shipped.read_text().replace("data:yeast_native_promoters_1011", "table.csv")
    settings = yaml.safe_load(text)
    model, data, trainer = settings["model"]["init_args"], settings["data"]["init_args"], settings["trainer"]
    model["codec"] = data["codec"] = CODEC
    model["denoiser"]["init_args"] |= {"width": 8, "depth": 2}
    model |= {"warmup_steps": 2, "val_times": 2, "test_times": 2}
    data |= {"batch_size": 4, "val_fraction": 0.2, "test_fraction": 0.2}
    trainer |= {"max_steps": 6, "val_check_interval": 3, "enable_progress_bar": False, "log_every_n_steps": 2}
    trainer["callbacks"][-1]["init_args"]["every_n_train_steps"] = 3
    settings["threads"] = 1
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


RUN = Path("runs/dna-yeast-promoter")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.whole
def test_fit_writes_everything_and_resumes_validates_and_tests(
    config: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["fit", "--config", str(config), "--trainer.max_steps", "3"]) == 0
    first = load_backbone(RUN / "pretrained").provenance["training"]
    assert first["step"] == 3 and {"val_bits", "ema"} <= first.keys()
    assert main(["fit", "--config", str(config)]) == 0
    checkpoint = torch.load(
        RUN / "checkpoints" / "last.ckpt", weights_only=True
    )  # nothing but tensors and plain data
    assert checkpoint["global_step"] == 6
    curves = "".join(path.read_text() for path in sorted(RUN.glob("csv/*/metrics.csv")))
    assert "train_bits" in curves and "val_bits" in curves and "lr-AdamW" in curves
    assert list(RUN.glob("tensorboard/*/events*"))
    capsys.readouterr()
    assert (
        main(["validate", "--config", str(config)]) == 0
    )  # of the checkpoint, with the average that it holds
    shown = re.search(r"val_bits\W+([\d.]+)", capsys.readouterr().out)
    validated = [
        row["val_bits"]
        for path in RUN.glob("csv/*/metrics.csv")
        for row in read_rows(path)
        if row["step"] == "5"
    ]
    assert shown is not None and float(shown[1]) == pytest.approx(float("".join(validated)), abs=1e-6)
    assert main(["test", "--config", str(config), "--init", str(RUN / "pretrained")]) == 0
    assert "test_bits" in capsys.readouterr().out


@pytest.mark.whole
def test_fit_continues_pretrained_weights(config: Path) -> None:
    main(["fit", "--config", str(config), "--trainer.max_steps", "3"])
    first = load_backbone(RUN / "pretrained")
    begin = ["--config", str(config), "--init", str(RUN / "pretrained"), "--ckpt_path", "null"]
    one_step = [
        "--trainer.max_steps",
        "1",
        "--trainer.val_check_interval",
        "1",
        "--model.init_args.lr",
        "1e-9",
    ]
    main(["fit", *begin, *one_step])
    second = load_backbone(RUN / "pretrained")
    assert second.provenance["training"]["step"] == 1
    begun = yaml.safe_load((RUN / "pretrained" / "config.yaml").read_text())["init"]
    assert begun["weights_sha256"] == first.provenance["weights_sha256"]
    for name, weight in first.named_parameters():
        torch.testing.assert_close(second.get_parameter(name), weight, atol=1e-6, rtol=0)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        main(["fit", *begin, "--model.init_args.denoiser.init_args.width", "16"])
    with pytest.raises(CheckpointError, match="no backbone 'nowhere'"):
        main(["fit", "--config", str(config), "--init", "nowhere"])


@pytest.mark.whole
def test_fit_continues_a_predictor(config: Path) -> None:
    rows = [line.split(",")[0] for line in Path("table.csv").read_text().splitlines()[1:]]
    Path("measured.csv").write_text("sequence,up\n" + "".join(f"{row},{row.count('A')}\n" for row in rows))
    settings = yaml.safe_load(config.read_text())
    network = {"num_letters": 4, "length": 12, "num_targets": 1, "width": 8, "known_motifs": 169}
    predictor = {
        "codec": CODEC,
        "network": {"class_path": "gendesign.models.predictor.ConvPredictor", "init_args": network},
        "heads": ["up"], "members": 1, "warmup_steps": 1, "motifs": "jaspar2024-yeast",
    }  # fmt: skip
    settings["model"] = {"class_path": "gendesign.rewards.predictors.Predictor", "init_args": predictor}
    settings["data"]["init_args"] = {
        "path": "measured.csv", "codec": CODEC, "target_columns": ["up"], "batch_size": 8
    }  # fmt: skip
    settings["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "callbacks": [
        {"class_path": "gendesign.training.callbacks.ExportPretrained", "init_args": {"folder": "fitted"}}
    ]}  # fmt: skip
    Path("fit.yaml").write_text(yaml.safe_dump(settings))
    filling = {"predictor": {"class_path": settings["model"]["class_path"], "init_args": predictor}}
    settings["model"] = {"class_path": "gendesign.rewards.filling.Filling", "init_args": filling}
    settings["trainer"]["callbacks"][0]["init_args"]["folder"] = "filled"
    Path("filling.yaml").write_text(yaml.safe_dump(settings))
    assert main(["fit", "--config", "filling.yaml"]) == 0
    filled = load_predictor("filled")
    start = ["fit", "--config", "fit.yaml", "--init", "filled", "--model.init_args.lr", "1e-9"]
    assert main(start) == 0
    for name, weight in load_predictor("fitted").named_parameters():
        torch.testing.assert_close(weight, filled.get_parameter(name), atol=1e-6, rtol=0)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        main([*start, "--model.init_args.network.init_args.width", "16"])
    with pytest.raises(CheckpointError, match="no predictor 'nowhere'"):
        main(["fit", "--config", "fit.yaml", "--init", "nowhere"])


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("--trainer.max_stepz 3", ConfigError, "did you mean '--trainer.max_steps'"),
        ("--model.init_args.lrr 3", ConfigError, "no argument 'lrr'; did you mean 'lr'"),
        ("--data.init_args.bad_rowz drop", ConfigError, "did you mean 'bad_rows'"),
        ("--model.init_args.lr fast", ConfigError, "lr.*fast"),
        ("--model.init_args.denoiser.class_path gendesign.models.transformer.TransformerDenoizer",
         ConfigError, "did you mean 'TransformerDenoiser'"),
        ("--model.init_args.denoiser.class_path os.system", ConfigError, "os.system.*Denoiser"),
        ("--model.init_args.denoiser.init_args.kernel_size 4", ConfigError, "kernel_size must be odd"),
        ("--data.init_args.val_fraction 2", ConfigError, "leave some training rows"),
        ("--data.init_args.path nothing.csv", DataError, "no such file"),
        ("--config nothing.yaml", ConfigError, "nothing.yaml"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(config: Path, words: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        main(["fit", "--config", str(config), *words.split()])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_configuration_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(b"\x80\x04\x95")
    with pytest.raises(ConfigError, match="not text; expected a configuration in YAML"):
        main(["fit", "--config", str(tmp_path / "weights.ckpt")])


def test_an_unknown_key_of_the_file(config: Path) -> None:
    config.write_text(config.read_text().replace("threads:", "thread:"))
    with pytest.raises(ConfigError, match="unknown key 'thread'; did you mean 'threads'"):
        main(["fit", "--config", str(config)])


def test_long_messages_are_reduced() -> None:
    message = 'Parser key "lr":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
    message += "    - Expected a number\n"
    assert one_line(message, []) == 'Parser key "lr": Expected a number'


def test_fit_refuses_to_continue_a_run_of_other_data(config: Path, tmp_path: Path) -> None:
    """Otherwise a finished run would be handed back as the model of a table that it never saw."""
    assert main(["fit", "--config", str(config), "--trainer.max_steps", "3"]) == 0
    (tmp_path / "other.csv").write_text((tmp_path / "table.csv").read_text())
    with pytest.raises(ConfigError, match="other data"):
        main(["fit", "--config", str(config), "--data.path", "other.csv"])
    assert main(["fit", "--config", str(config), "--trainer.max_steps", "4"]) == 0
