import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_twin.emulator.adapters import AdapterRegistry, LoadedAdapter
from adapter_twin.emulator.errors import ApiError
from adapter_twin.emulator.metrics import Histogram
from adapter_twin.emulator.planning import Planner
from adapter_twin.emulator.requests import ChatRequest, CompletionRequest, LoadRequest
from adapter_twin.emulator.sampling import (
    Limits,
    Prompt,
    chat_prompt,
    chat_sampling,
    completion_prompts,
    completion_sampling,
)
from adapter_twin.emulator.tokens import (
    FIRST_WORD_TOKEN,
    WORDS,
    count_tokens,
    find_stop,
    prompt_token_ids,
    words,
)
from adapter_twin.emulator.validation import check_chat, check_completion, read_request
from adapter_twin.profile.model import TokenLengths

LIMITS = Limits(max_model_len=100, vocabulary_size=1000)
LENGTHS = TokenLengths(mean=20, sigma=0.8, minimum=1, maximum=80)


def read(kind, content):
    return read_request(kind, "application/json", json.dumps(content).encode())


def error_of(call, *arguments):
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


def sampling(**fields):
    return completion_sampling(CompletionRequest(prompt="x", **fields), 1, LIMITS)


@given(st.text(max_size=50))
def test_a_text_has_one_token_per_four_bytes_begun(text):
    assert count_tokens(text) == len(prompt_token_ids(text)) == -(-len(text.encode()) // 4)


def test_words_are_equally_long_and_safe_in_json():
    assert {len(word) for word in WORDS} == {4}
    assert all(json.dumps(word) == f'"{word}"' for word in WORDS)
    assert len(set(WORDS)) == len(WORDS)


def test_prompts_in_all_four_forms():
    def tokens(prompt):
        return [p.tokens for p in completion_prompts(CompletionRequest(prompt=prompt), LIMITS)]

    assert tokens("12345") == [2]
    assert tokens(["1234", "12345"]) == [1, 2]
    assert tokens([1, 2, 3]) == [3]
    assert tokens([[1, 2], [3]]) == [2, 1]


def test_a_prompt_leaves_room_for_a_token_at_least():
    assert sampling(max_tokens=100).max_tokens == 99
    error = error_of(completion_sampling, CompletionRequest(prompt=[1] * 100), 100, LIMITS)
    assert (error.status, error.param) == (400, "max_tokens")
    too_long = error_of(completion_prompts, CompletionRequest(prompt=[1] * 101), LIMITS)
    assert "maximum context length is 100 tokens" in str(too_long)
    assert too_long.param == "input_tokens"
    assert error_of(completion_prompts, CompletionRequest(prompt="x" * 701), LIMITS).param == "input_text"


def test_a_token_must_be_of_the_vocabulary():
    error = error_of(completion_prompts, CompletionRequest(prompt=[5, 1000]), LIMITS)
    assert error.body()["error"] == {
        "message": "Token id 1000 is out of vocabulary",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"presence_penalty": 3}, "presence_penalty must be in [-2, 2], got 3.0."),
        ({"repetition_penalty": 0}, "repetition_penalty must be greater than zero, got 0.0."),
        ({"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
        ({"min_p": 2}, "min_p must be in [0, 1], got 2.0."),
        ({"min_tokens": -1}, "min_tokens must be greater than or equal to 0, got -1."),
        ({"logprobs": 21}, "Requested sample logprobs of 21, which is greater than max allowed: 20."),
        ({"max_tokens": 101}, "max_tokens=101 cannot be greater than max_model_len=100."),
    ],
)
def test_sampling_parameters_have_ranges(fields, said):
    error = error_of(lambda: sampling(**fields))
    assert error.status == 400
    assert said in str(error)


def test_containers_are_only_counted_in_errors():
    error = error_of(read, CompletionRequest, {"prompt": "x", "max_tokens": {"secret": 1}})
    assert "secret" not in str(error)
    assert "'input': '<dict of 1 items>'" in str(error)


def test_the_content_type_decides_before_the_body():
    assert "Only 'application/json' is allowed" in str(error_of(read_request, LoadRequest, "", b"{"))


def test_stream_options_need_a_stream_and_alternatives_need_logprobs():
    assert error_of(check_completion, read(CompletionRequest, {"prompt": "x", "stream_options": {}})).param
    chat = {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}
    assert error_of(check_chat, read(ChatRequest, chat)).param == "top_logprobs"


def test_chat_counts_the_texts_of_all_messages():
    messages = [{"role": "user", "content": "1234"}, {"role": "assistant", "content": [{"text": "5678"}]}]
    request = ChatRequest(messages=messages)
    assert chat_prompt(request, LIMITS).tokens == 3
    assert chat_sampling(request, 3, LIMITS).max_tokens == 97


def planned(**fields):
    return Planner(LENGTHS, seed=1).plan(Prompt(1, "x"), sampling(**fields), "m", 0)


def test_greedy_answers_and_seeded_ones_are_always_the_same():
    planner, prompt = Planner(LENGTHS, seed=1), Prompt(1, "x")
    for fields in ({"temperature": 0}, {"seed": 3}):
        assert planner.plan(prompt, sampling(**fields), "m", 0) == planner.plan(
            prompt, sampling(**fields), "m", 0
        )
    assert planner.plan(prompt, sampling(), "m", 0).seed != planner.plan(prompt, sampling(), "m", 0).seed


def test_outputs_are_as_long_as_the_profile_says_unless_told_otherwise():
    planner, prompt = Planner(LENGTHS, seed=1), Prompt(1, "x")
    lengths = [planner.plan(prompt, sampling(max_tokens=99), "m", 0).tokens for _ in range(2000)]
    assert sum(lengths) / len(lengths) == pytest.approx(20, rel=0.1)
    assert {planner.plan(prompt, sampling(max_tokens=99), "m", 0).finish_reason for _ in range(50)} == {
        "stop"
    }
    assert planned(max_tokens=99, ignore_eos=True).tokens == 99
    assert planned(max_tokens=99, ignore_eos=True).finish_reason == "length"
    assert planned(max_tokens=90, min_tokens=90).tokens == 90


def test_a_stop_string_ends_the_text_before_it_or_behind_it():
    whole = planned(max_tokens=50, ignore_eos=True, temperature=0).text()
    stop = whole[42:45]
    place = whole.find(stop)
    output = planned(max_tokens=50, ignore_eos=True, temperature=0, stop=stop)
    assert (output.text(), output.finish_reason, output.stop_reason) == (whole[:place], "stop", stop)
    assert output.tokens == -(-(place + 3) // 4)
    kept = planned(max_tokens=50, ignore_eos=True, temperature=0, stop=stop, include_stop_str_in_output=True)
    assert kept.text() == whole[: place + 3]


def test_a_stop_token_ends_the_text_and_is_not_shown():
    whole = planned(max_tokens=50, ignore_eos=True, temperature=0)
    numbers = words(whole.seed, 50)
    token = FIRST_WORD_TOKEN + numbers[10]
    output = planned(max_tokens=50, ignore_eos=True, temperature=0, stop_token_ids=[token])
    assert (output.tokens, output.stop_reason) == (numbers.index(numbers[10]) + 1, token)
    assert output.text() == whole.text()[: 4 * numbers.index(numbers[10])]


@given(st.text("ab ", max_size=30), st.lists(st.text("ab ", min_size=1, max_size=3), max_size=4))
def test_of_several_stop_strings_the_one_completed_first_counts(text, stops):
    found = find_stop(text, tuple(stops), include=False)
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    assert (found is None) == (not ends)
    if found is not None:
        assert found.characters + len(found.stop) == ends[0]


@pytest.fixture
def registry(tmp_path):
    return AdapterRegistry(("base",), 16, enabled=True), tmp_path


def adapter_folder(folder, config='{"r": 8}', weights="adapter_model.safetensors"):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(config)
    if weights:
        (folder / weights).write_bytes(b"x")
    return str(folder)


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt"])
def test_weights_may_have_any_of_the_forms_of_vllm(registry, weights):
    known, folder = registry
    assert known.check_files("a", adapter_folder(folder / "a", weights=weights)) == 8


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"r": 17}', "LoRA rank 17 is greater than max_lora_rank 16."),
        ('{"r": "x"}', "invalid literal"),
        ("{}", "missing 1 required positional argument: 'r'"),
        ("no json", "Expecting value"),
        ('{"r": 8, "use_dora": true}', "does not yet support DoRA"),
    ],
)
def test_what_the_worker_refuses_is_an_internal_error(registry, config, said):
    known, folder = registry
    error = error_of(known.check_files, "a", adapter_folder(folder / "a", config))
    assert (error.status, error.type) == (500, "InternalServerError")
    assert said in str(error)


def test_without_slots_nothing_is_loaded(tmp_path):
    known = AdapterRegistry(("base",), 16, enabled=False)
    assert "LoRA is not enabled" in str(error_of(known.check_files, "a", adapter_folder(tmp_path / "a")))


def test_an_adapter_loaded_in_place_keeps_its_place(registry):
    known, _ = registry
    for name, path in (("a", "/1"), ("b", "/2"), ("a", "/3")):
        known.add(LoadedAdapter(name, path, 8, 0, 0))
    assert [(one.name, one.path) for one in known.loaded] == [("a", "/3"), ("b", "/2")]
    known.check_name("a", "/4", in_place=True)
    assert error_of(lambda: known.check_name("a", "/4", in_place=False)).type == "InvalidUserInput"


@given(st.lists(st.floats(0, 50), max_size=20))
def test_histograms_count_what_is_not_above_each_bound(values):
    histogram = Histogram((1.0, 10.0))
    for value in values:
        histogram.observe(value)
    at_most = [sum(v <= bound for v in values) for bound in (1.0, 10.0, float("inf"))]
    assert [count for _, count in histogram.cumulated()] == at_most
