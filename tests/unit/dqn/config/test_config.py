"""Configurations: what is refused and how, what is taken and read back."""

import copy
import re

import pytest
import yaml
from helpers.config_files import OPTIMIZERS, composed, optimizer_arguments, yaml_of
from helpers.tiny_runs import CARTPOLE, tiny_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dqn import train
from dqn.config import CONFIG_DIR, ConfigError, load_config, save_config, validate
from dqn.config.allowed_code import check_yaml
from dqn.config.optimizers import OPTIMIZER_TARGETS
from dqn.config.ranges import CHOICES, RANGES
from dqn.run import assembly
from dqn.saved_config import flatten

GROUPS = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}


# What is asked for -> what the one line must say: key and value, and what is allowed.
REFUSED_VALUES = {
    "agent.discount=2": ["agent.discount=2", "from 0 to 1"],
    "agent.discount=nan": ["agent.discount=nan", "from 0 to 1"],
    "agent.epsilon.end=-0.1": ["agent.epsilon.end=-0.1", "from 0 to 1"],
    "agent.epsilon=0.1": ["agent.epsilon", "0.1"],
    "agent.batch_size=0": ["agent.batch_size=0", "at least 1"],
    "agent.batch_size=32.5": ["agent.batch_size=32.5", "a whole number"],
    "loss.error_bound=0": ["loss.error_bound=0", "above 0"],
    "loss.error_bound=none": ["loss.error_bound=none", "a number or null"],
    "agent.loss_reduction=average": ["agent.loss_reduction=average", "sum, mean"],
    "agent.warmup_agent_steps=10": ["agent.warmup_agent_steps=10", "at least", "batch_size=32"],
    "agent.warmup_agent_steps=100 env.num_envs=128": [
        "agent.warmup_agent_steps=100",
        "at least env.num_envs * agent.n_step=384",
    ],
    "agent.warmup_agent_steps=300000": [
        "agent.warmup_agent_steps=300000",
        "at most replay.capacity=200000",
    ],
    "agent.target_update_period_agent_steps=10": [
        "agent.target_update_period_agent_steps=10",
        "multiple of agent.agent_steps_per_update=4",
    ],
    "agent.discont=0.9": ["agent.discont", "unknown key", "did you mean discount?"],
    "agent.epsilon.bgin=0.9": ["agent.epsilon.bgin", "unknown key", "did you mean begin?"],
    "total_steps=5": ["total_steps", "unknown key", "did you mean total_agent_steps?"],
    "seed=abc": ["seed=abc", "a whole number"],
    "seed=-1": ["seed=-1", "from 0 to"],
    "seed=true": ["seed=True", "a whole number"],
    "seed=null": ["seed=None", "a whole number"],
    "total_agent_steps=0": ["total_agent_steps=0", "at least 1"],
    "total_agent_steps=1e400": ["total_agent_steps=inf", "a whole number"],
    "overwrite=perhaps": ["overwrite=perhaps", "true or false"],
    "env.num_envs=0": ["env.num_envs=0", "from 1 to 4096"],
    "env.protocol=null": ["env.protocol=null", "nature"],
    "evaluation.epsilon=2": ["evaluation.epsilon=2", "from 0 to 1"],
    "optimizer.lr=-1": ["optimizer.lr=-1", "at least 0"],
    "optimizer.lr=fast": ["optimizer.lr=fast", "number"],
    "optimizer.lr=null": ["optimizer.lr=None", "number"],
    "optimizer.alpha=1": ["optimizer.alpha=1", "from 0 and below 1"],
    "optimizer.centered=2": ["optimizer.centered=2", "true or false"],
    "optimizer.alhpa=0.9": ["optimizer.alhpa=0.9", "did you mean alpha?"],
    "optimizer._target_=os.system": ["optimizer._target_=os.system", "rmsprop.RMSprop"],
    "optimizer._target_=rmsprop.RMSProp": ["optimizer._target_", "did you mean rmsprop.RMSprop?"],
    "optimizer._target_=torch.optim.Adam": ["optimizer.alpha=0.95", "torch.optim.Adam takes"],
    "network.torso.kind=mlp": ["network.torso.kind=mlp", "nature_cnn", "env.game=pong"],
    "network.torso.kind=resnet": [
        "network.torso.kind=resnet",
        "nature_cnn, nips_cnn, minatar_cnn, mlp",
    ],
    "precision=fp16": ["precision=fp16", "fp32, tf32, bf16"],
    "device=gpu": ["device=gpu", "auto, cpu, cuda"],
    "optimizer=adam optimizer.betas=0.9": ["optimizer.betas=0.9", "2 numbers from 0 and below 1"],
    "optimizer=adam optimizer.betas=[0.9,1.0]": ["optimizer.betas=[0.9, 1.0]", "2 numbers"],
    "optimizer=adam optimizer.betas=[0.9]": ["optimizer.betas=[0.9]", "2 numbers"],
    "experiment=cartpole network.torso.kind=nature_cnn": ["network.torso.kind=nature_cnn", "mlp"],
    "experiment=minatar network.torso.kind=mlp": [
        "network.torso.kind=mlp",
        "minatar_cnn",
        "breakout",
    ],
    "experiment=cartpole +network.torso.implementation=auto": [
        "network.torso.implementation: unknown key",
        "network.torso.kind=mlp has hidden_sizes, input_scale",
    ],
    "+network.torso.implementatoin=auto": ["did you mean implementation?"],
    "+env.id=CartPole-v1": ["env.id: unknown key", "env.kind=atari has game, num_envs, protocol"],
    "experiment=cartpole agent.epsilon.end=null": ["agent.epsilon.end=null", "no protocol"],
    "network.torso=mlp": ["network.torso=mlp", "network.torso.kind="],
    "replay.sampler.kind=oldest": ["replay.sampler.kind=oldest", "uniform"],
    "experiment=minatar env.protocol=null": ["env.protocol=null", "minatar_v0 or minatar_v1"],
    "experiment=cartpole env.id=null": ["env.id=null", "CartPole-v1"],
    "experiment=cartpole env.game=breakout": [
        "env.game=breakout",
        "the name of env.id=CartPole-v1",
        "env=atari",
    ],
    "experiment=cartpole env.id=Acrobot-v1": ["env.game=cartpole", "env.id=Acrobot-v1"],
    "experiment=cartpole network.torso.hidden_sizes=8": [
        "network.torso.hidden_sizes=8",
        "a list of whole",
    ],
    "experiment=cartpole network.torso.hidden_sizes=[8,a]": [
        "hidden_sizes=[8, 'a']",
        "a list of whole",
    ],
    "experiment=cartpole network.torso.input_scale=[a]": ["input_scale=['a']", "a list of numbers"],
    "run_dir=''": ["run_dir=", "run_dir=. is this one"],
    # Absurd sizes.
    "env.num_envs=5000": ["env.num_envs=5000", "from 1 to 4096"],
    "env.num_threads=100000": ["env.num_threads=100000", "from 0 to 1024"],
    "num_threads=-1": ["num_threads=-1", "from 0 to 1024"],
    "num_threads=5000": ["num_threads=5000", "from 0 to 1024"],
    "seed=2147483648": ["seed=2147483648", "from 0 to 2.14748e+09"],
    "evaluation.max_num_envs=100000": ["evaluation.max_num_envs=100000", "from 1 to 4096"],
    "evaluation.num_games=0": ["evaluation.num_games=0", "at least 1"],
    "replay.capacity=-5": ["replay.capacity=-5", "at least 1"],
    "replay.capacity=1e400": ["replay.capacity=inf", "a whole number"],
    "agent.batch_size=1e-3": ["agent.batch_size=0.001", "a whole number"],
    # Wrong types and places.
    "env.game=null": ["env.game=None", "text"],
    "env.game=[pong,breakout]": ["env.game", "pong"],
    "checkpoint.period_agent_steps=0": ["checkpoint.period_agent_steps=0", "at least 1"],
    "checkpoint.period_agent_steps=never": ["checkpoint.period_agent_steps=never", "a whole"],
    "checkpoint=false": ["checkpoint"],
    "logging.histograms=some": ["logging.histograms=some", "true or false"],
    "logging.period_agent_steps=0.5": ["logging.period_agent_steps=0.5", "a whole number"],
    "evaluation.stop_at_return_mean=high": ["stop_at_return_mean=high", "a number or null"],
    "agent.double_q_learning=yess": ["agent.double_q_learning=yess", "true or false"],
    "agent.learning_rate.begin_factor=-1": ["begin_factor=-1", "at least 0"],
    "agent.epsilon.decay_agent_steps=-1": ["decay_agent_steps=-1", "at least 0"],
    "agent.discount=inf": ["agent.discount=inf", "from 0 to 1"],
    "optimizer.eps=-1e-8": ["optimizer.eps=-1e-08", "at least 0"],
    "optimizer.momentum=1.5": ["optimizer.momentum=1.5", "from 0 and below 1"],
    "optimizer.weight_decay=nan": ["optimizer.weight_decay=nan", "at least 0"],
    "env.kind=doom": ["env.kind=doom", "atari, minatar, control"],
}

# These are refused by Hydra, or only as the run is built.
REFUSED_COMMANDS = {
    "agent.discount=2": ["agent.discount=2", "from 0 to 1"],
    "agent.discont=0.9": ["agent.discont", "unknown key", "did you mean discount?"],
    "+agent.discont=0.9": ["agent.discont", "unknown key", "did you mean discount?"],
    "optimzer=adam": ["optimzer", "unknown key", "did you mean optimizer?"],
    "optimizer=adamm": ["optimizer=adamm", "rmsprop_deepmind", "did you mean adam?"],
    "optimizer=null": ["optimizer=null", "rmsprop_deepmind"],
    "~optimizer.lr": ["optimizer.lr", "no value given", "rmsprop.RMSprop"],
    "~device": ["device", "no value given"],
    "env=atarii": ["env=atarii", "atari, cartpole", "did you mean atari?"],
    "env.game=pongg": ["env.game='pongg'", "did you mean pong?"],
    "env.protocol=natur": ["env.protocol='natur'", "did you mean nature?", "machado"],
    "experiment=minatar env.game=pong": ["env.game='pong'", "asterix, breakout, freeway"],
    "experiment=minatar env.protocol=nature": ["env.protocol='nature'", "minatar_v0, minatar_v1"],
    "replay.capacity=1e12": ["replay.capacity=1000000000000", "GB", "at most"],
    "optimizer=sgd optimizer.nesterov=true": ["torch.optim.SGD", "momentum"],
    "experiment=cartpole env.id=CartPol-v1 env.game=cartpol": [
        "env.id='CartPol-v1'",
        "did you mean CartPole-v1?",
    ],
    "experiment=cartpole network.torso.hidden_sizes=[0]": ["hidden_sizes=[0]", "positive"],
    # What cannot fit is counted before it is allocated.
    "experiment=cartpole network.torso.hidden_sizes=[10000000,10000000]": [
        "network.torso.hidden_sizes=[10000000, 10000000]",
        "GB are available",
        "a smaller network.torso.hidden_sizes",
    ],
    "agent.batch_size=1_000_000_000 agent.warmup_agent_steps=1_000_000_000 "
    "replay.capacity=1_000_000_000": [
        "agent.batch_size=1000000000",
        "GB are available",
        "a smaller agent.batch_size",
    ],
    "env.game=combat": ["env.game='combat'"],
    "env.game=Breakout": ["env.game='Breakout'", "did you mean breakout?"],
    "experiment=pongg": ["experiment=pongg", "did you mean pong?"],
    "network=resnet": ["network=resnet", "mlp, nature_cnn, nips_cnn"],
    "agent.epsilon.end": ["agent.epsilon.end"],
    "seed=": ["seed"],
    "seed=[1,2": ["seed=[1,2"],
    "env.game=${nowhere}": ["nowhere"],
    # Directories that are none.
    "run_dir=/dev/null": ["run_dir=/dev/null", "directory that can be written"],
    "run_dir=/dev/null/run": ["run_dir=/dev/null/run", "directory that can be written"],
    "run_dir=/proc/run": ["run_dir=/proc/run", "directory that can be written"],
    f"run_dir={'x' * 300}": ["run_dir=xxx", "directory that can be written"],
    "run_dir=/dev/null overwrite=true": ["run_dir=/dev/null", "directory that can be written"],
    # Code that a command line or a stranger's YAML would have us run.
    "optimizer._target_=os.system": ["optimizer._target_=os.system", "rmsprop.RMSprop"],
    "+optimizer={_target_:os.system}": ["optimizer", "os.system"],
    "+agent._target_=builtins.eval": ["agent._target_=builtins.eval", "must be one of"],
    "+hydra.callbacks.x._target_=webbrowser.open": ["hydra.callbacks.x._target_=webbrowser.open"],
    "+hydra.callbacks={x:{_target_:webbrowser.open}}": ["_target_=webbrowser.open"],
    "hydra.launcher._target_=webbrowser.open": ["hydra.launcher._target_=webbrowser.open"],
    "hydra.sweeper._target_=torch.load": ["hydra.sweeper._target_=torch.load"],
    "+hydra.job_logging.handlers.x.class=webbrowser.open": ["class=webbrowser.open", "logging"],
    "+hydra.job_logging.formatters.x.()=webbrowser.open": ["hydra.job_logging.formatters.x"],
    "+hydra.job_logging.handlers.x={class:webbrowser.open}": ["class=webbrowser.open", "logging"],
}


def configure(arguments):
    """As the command line would, but composing what is common only once."""
    groups = [item for item in arguments.split() if item.partition("=")[0] in GROUPS]
    config = copy.deepcopy(composed(*groups, "run_dir=unused"))
    OmegaConf.set_struct(config, False)
    for item in arguments.split():
        if item not in groups:
            override = OverridesParser.create().parse_override(item)
            OmegaConf.update(config, override.key_or_group, override.value())
    return config


@pytest.mark.parametrize("arguments", REFUSED_VALUES)
def test_bad_value_is_refused_in_one_line_that_names_it_and_what_is_allowed(arguments):
    with pytest.raises(ConfigError) as error:
        validate(configure(arguments))
    assert "\n" not in str(error.value)
    for part in REFUSED_VALUES[arguments]:
        assert part in str(error.value)


@pytest.mark.parametrize("arguments", REFUSED_COMMANDS)
def test_bad_command_is_answered_with_one_line_and_leaves_nothing(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dqn-train", *arguments.split()])
    with pytest.raises(SystemExit) as status:
        train.main()
    captured = capsys.readouterr()
    assert status.value.code == 2, captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("dqn-train: ")
    for part in REFUSED_COMMANDS[arguments]:
        assert part in line, line
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_at_least_eighty_mistakes_are_tried():
    assert len(REFUSED_VALUES) + len(REFUSED_COMMANDS) >= 80


@pytest.mark.parametrize(
    "content",
    [
        "hydra: {callbacks: {x: {_target_: webbrowser.open}}}",
        "optimizer: {_target_: os.system}",
        "a: [{b: {_target_: 'os.system'}}]",
        "a: &x {_target_: os.system}\nb: *x",
        "_target_: ${oc.env:EVIL}",
        "hydra: {job_logging: {handlers: {x: {class: os.system}}}}",
        "hydra: {job_logging: {formatters: {x: {(): os.system}}}}",
        "hydra: {job_logging: {handlers: {x: {stream: 'ext://os.system'}}}}",
        "a: !!python/object/apply:os.system ['true']",
        "a: [",
    ],
)
@pytest.mark.parametrize("option", ["--config-dir", "--config-dir=", "-cd", "--config-path"])
def test_yaml_of_a_stranger_names_no_code(content, option, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "theirs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "x.yaml").write_text(f"# @package _global_\n{content}\n")
    directory = str(tmp_path / "theirs")
    given = [option + directory] if option.endswith("=") else [option, directory]
    monkeypatch.setattr("sys.argv", ["dqn-train", *given, "experiment=x"])
    with pytest.raises(SystemExit) as status:
        train.main()
    assert status.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder / "x.yaml") in line


def test_yaml_of_ones_own_is_taken(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "# @package _global_\noptimizer: {_target_: rmsprop.RMSprop, lr: 0.125}\n"
    )
    arguments = ["--config-dir", str(tmp_path), "experiment=mine", "--cfg", "job"]
    monkeypatch.setattr("sys.argv", ["dqn-train", *arguments])
    train.main()
    assert yaml.safe_load(capsys.readouterr().out)["optimizer"]["lr"] == 0.125


def test_own_files_name_only_what_a_stranger_may_name():
    for path in CONFIG_DIR.rglob("*.yaml"):
        check_yaml(path)


@pytest.mark.parametrize(
    "content",
    ["seed: ${oc.env:HOME}", "a: ['${oc.env:HOME}']", "!!python/object/apply:os.system ['true']"],
)
def test_saved_configuration_that_asks_for_something_is_refused(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_config(path)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(assembly.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device=cuda: .*; use device=cpu or auto"):
        assembly.resolve_device("cuda")
    assert assembly.resolve_device("auto").type == "cpu"


def test_of_several_mistakes_the_same_one_is_always_named():
    keys = [key for key in RANGES if key in flatten(yaml_of())]
    arguments = " ".join(f"{key}=-1" for key in reversed(keys))
    with pytest.raises(ConfigError, match=f"^{re.escape(keys[0])}=-1:"):
        validate(configure(arguments))


def test_whole_floats_are_integers(tmp_path):
    config = tiny_config(tmp_path, "total_agent_steps=1e6", "seed=2.0", "replay.capacity=1_000")
    values = (config.total_agent_steps, config.seed, config.replay.capacity)
    assert values == (1_000_000, 2, 1_000)
    assert [type(value) for value in values] == [int] * 3


def test_saved_configuration_reads_back_as_the_same(tmp_path):
    config = tiny_config(tmp_path / "run", "optimizer=adam")
    save_config(config, tmp_path / "config.yaml")
    assert validate(OmegaConf.create(load_config(tmp_path / "config.yaml"))) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "a: ${b"])
def test_configuration_that_is_no_mapping_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"config.yaml") as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_every_range_and_choice_is_of_a_key_that_exists():
    keys = set(flatten(yaml_of(*CARTPOLE))) | set(flatten(yaml_of()))
    optimizer_keys = {
        f"optimizer.{key}" for name in OPTIMIZERS for key in optimizer_arguments(name)
    }
    evaluate_keys = set(yaml.safe_load((CONFIG_DIR / "evaluate.yaml").read_text()))
    known = keys | optimizer_keys | evaluate_keys
    assert set(RANGES) - known == set()
    assert set(CHOICES) - known == set()


def test_every_number_of_the_configuration_has_a_range():
    numbers = {
        key
        for overrides in ((), CARTPOLE, *[(f"optimizer={name}",) for name in OPTIMIZERS])
        for key, value in flatten(yaml_of(*overrides)).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    # These two may be any number.
    assert numbers - set(RANGES) <= {"optimizer.dampening", "evaluation.stop_at_return_mean"}


def test_only_listed_classes_can_be_named():
    config = configure("")
    for target in OPTIMIZER_TARGETS:
        config.optimizer = {"_target_": target, "lr": 0.1}
        assert validate(config).optimizer["_target_"] == target
    for target in ("builtins.eval", "torch.optim.LBFGS", "dqn.train.main", "", None, ["a"]):
        config.optimizer = {"_target_": target, "lr": 0.1}
        with pytest.raises(ConfigError, match=r"optimizer\._target_"):
            validate(config)


def test_files_in_the_working_directory_change_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("seed: 99")
    monkeypatch.setattr("sys.argv", ["dqn-train", "--cfg", "job"])
    train.main()
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 1
