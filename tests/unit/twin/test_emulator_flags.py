import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_twin.emulator.errors import EmulatorConfigError
from adapter_twin.emulator.faults import Fault, Faults, parse_fault
from adapter_twin.emulator.flags import FLAGS, LoraModule, flags_help, parse_flags
from adapter_twin.emulator.starting import choose_profile, startup_delay_s


def settings(*arguments, **environment):
    return parse_flags(["--model", "m", *arguments], environment)[0]


def test_values_follow_or_are_joined_by_an_equals_sign():
    assert settings("--max-loras", "4").max_loras == settings("--max-loras=4").max_loras == 4


def test_underscores_are_dashes_as_to_vllm():
    assert settings("--max_lora_rank", "32").max_lora_rank == 32


def test_the_model_may_come_first_as_after_vllm_serve():
    assert parse_flags(["serve", "some/model", "--port", "1"], {})[0].model == "some/model"


def test_the_last_of_a_repeated_flag_counts():
    assert settings("--port", "1", "--port", "2").port == 2


def test_defaults_are_those_of_vllm():
    default = settings()
    assert (default.port, default.max_loras, default.max_lora_rank, default.max_cpu_loras) == (
        8000,
        1,
        16,
        None,
    )
    assert (default.shutdown_timeout_s, default.keep_alive_s, default.enable_lora) == (0.0, 5.0, False)
    assert default.names == ("m",)


def test_what_vllm_reads_from_the_environment():
    told = settings(VLLM_ALLOW_RUNTIME_LORA_UPDATING="1", VLLM_API_KEY="k", VLLM_HTTP_TIMEOUT_KEEP_ALIVE="7")
    assert (told.runtime_lora_updating, told.api_keys, told.keep_alive_s) == (True, ("k",), 7.0)
    assert settings("--api-key", "a", "b", VLLM_API_KEY="k").api_keys == ("a", "b")


def test_unknown_flags_are_ignored_with_all_their_values():
    told, ignored = parse_flags(
        ["--enforce-eager", "--dtype", "auto", "--model", "m", "--x=y", "--limit", "a", "b", "--port", "9"],
        {},
    )
    assert ignored == ("--enforce-eager", "--dtype", "--x", "--limit")
    assert (told.model, told.port) == ("m", 9)


def test_adapters_at_the_start_in_both_forms():
    told = settings("--enable-lora", "--lora-modules", "a=/x=1", '{"name": "b", "path": "/y"}', "--port", "1")
    assert told.lora_modules == (LoraModule("a", "/x=1"), LoraModule("b", "/y"))


def test_lengths_may_have_units():
    assert settings("--max-model-len", "8k").max_model_len == 8000
    assert settings("--max-model-len", "8K").max_model_len == 8192


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-loras", "0"], "--max-loras: 0 is not allowed, it must be at least 1"),
        (["--max-loras", "x"], "--max-loras: x is not allowed, it must be a whole number"),
        (["--max-loras", "1.5"], "--max-loras: 1.5 is not allowed, it must be a whole number"),
        (["--max-loras"], "--max-loras: needs a value"),
        (["--max-lora-rank", "12"], "--max-lora-rank: 12 is not allowed, it must be one of 1, 8, 16"),
        (["--max-loras", "4", "--max-cpu-loras", "2"], "--max-cpu-loras: 2 is not allowed"),
        (["--port", "70000"], "--port: 70000 is not allowed"),
        (["--speed-up", "0"], "--speed-up: 0 is not allowed, it must be above 0"),
        (["--speed-up", "nan"], "--speed-up: nan is not allowed"),
        (["--gpu-memory-utilization", "1.2"], "it must be above 0 and at most 1"),
        (["--lora-modules", "a=b"], "--lora-modules: needs --enable-lora"),
        (["--enable-lora", "--lora-modules", "a"], "it must be name=path or JSON"),
        (["--enable-lora", "--lora-modules", "{"], 'must be JSON with "name" and "path"'),
        (["--enable-lora=maybe"], "--enable-lora: maybe is not allowed"),
        (["other"], "other: unexpected argument; the model is m already"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(arguments, said):
    with pytest.raises(EmulatorConfigError) as caught:
        settings(*arguments)
    assert said in str(caught.value)


def test_a_model_is_needed():
    with pytest.raises(EmulatorConfigError, match="--model: is needed"):
        parse_flags([], {})


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_command_line_makes_it_stumble(arguments):
    with contextlib.suppress(EmulatorConfigError):
        parse_flags(arguments, {})


def test_help_names_every_flag_ours_first():
    text = flags_help()
    places = [text.index(f"  {flag.name} ") for flag in FLAGS.values() if flag.ours]
    assert max(places) < text.index("vLLM's own flags") < text.index("  --model ")
    assert all(f"  {flag.name}" in text for flag in FLAGS.values())


@pytest.mark.parametrize(
    "model", ["meta-llama/Llama-3.1-8B-Instruct", "/models/llama-3.1-8b-instruct/", "Llama3.1-8B-Instruct"]
)
def test_the_profile_is_chosen_by_the_model(model):
    told = parse_flags([model], {})[0]
    assert choose_profile(told).name == "llama-3.1-8b-instruct-h100-64gb"


def test_a_model_without_a_profile_needs_one_named():
    with pytest.raises(EmulatorConfigError, match="none of those shipped is of m; name one of"):
        choose_profile(settings())


def test_a_profile_of_another_tensor_parallel_size_is_refused():
    with pytest.raises(EmulatorConfigError, match="--tensor-parallel-size: 2 is not allowed"):
        choose_profile(settings("--profile", "qwen-2.5-7b-instruct-h100-64gb", "-tp", "2"))


def test_starting_takes_as_long_as_the_profile_says_but_for_the_image():
    told = settings("--profile", "qwen-2.5-7b-instruct-h100-64gb", "--speed-up", "10")
    profile = choose_profile(told)
    assert startup_delay_s(told, profile) == (profile.startup.weights_s + profile.startup.compile_s) / 10
    assert startup_delay_s(settings("--startup-delay", "3"), profile) == 3.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("slow-load=5", Fault("slow-load", 5.0)),
        ("slow-load=0.5@tenant-*", Fault("slow-load", 0.5, "tenant-*")),
        ("fail-load@x", Fault("fail-load", 0.0, "x")),
        ("crash=3", Fault("crash", 3.0)),
        ("out-of-memory", Fault("out-of-memory")),
    ],
)
def test_faults_are_read_and_written(text, fault):
    assert parse_fault(text) == fault
    assert str(fault) == text


@pytest.mark.parametrize(
    "text", ["explode", "slow-load", "crash=soon", "crash=-1", "fail-load=2", "hang@x", ""]
)
def test_there_are_no_other_faults(text):
    with pytest.raises(EmulatorConfigError, match="--fault: "):
        parse_fault(text)


def test_the_first_fault_of_a_kind_that_fits_counts():
    faults = Faults([parse_fault("slow-load=1@a*"), parse_fault("slow-load=2"), parse_fault("hang-load@b")])
    assert {kind: f.seconds for kind, f in faults.of_loading("a1").items()} == {"slow-load": 1.0}
    assert {kind: f.seconds for kind, f in faults.of_loading("b").items()} == {
        "slow-load": 2.0,
        "hang-load": 0.0,
    }
