import itertools
import json

import pytest

from adapter_operator.api.load import load_adapter_deployment, parse_adapter_deployment, parse_adapters
from adapter_operator.errors import SpecError

TEXT = """\
apiVersion: adaptwin.io/v1alpha1
kind: AdapterDeployment
metadata:
  name: assistants
spec:
  model:
    name: llama
    source: {path: /models/llama}
  profile: {name: llama-3.1-8b-instruct-h100-64gb}
  adapters:
    - {name: support, rank: 8, rate: 400m, source: {path: /adapters/support}}
"""


def failure(source):
    with pytest.raises(SpecError) as caught:
        load_adapter_deployment(source)
    return str(caught.value)


def test_a_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    deployment = load_adapter_deployment(path)
    assert deployment.metadata.name == "assistants"
    assert deployment.spec.adapters[0].rate_per_s == 0.4


def test_the_one_among_other_objects():
    other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: llm}\n---\n"
    assert load_adapter_deployment(other + TEXT).metadata.name == "assistants"


def test_json_is_yaml():
    deployment = load_adapter_deployment(TEXT)
    assert load_adapter_deployment(json.dumps(deployment.to_object())) == deployment


def test_what_was_written_comes_out_again():
    """Defaults do not creep in: what is handed on is what the user wrote."""
    item = load_adapter_deployment(TEXT).to_object()
    assert set(item["spec"]) == {"model", "profile", "adapters"}
    assert item["spec"]["adapters"][0]["rate"] == "400m"


def test_a_file_that_is_not_there(tmp_path):
    assert failure(tmp_path / "no.yaml").endswith("no.yaml: cannot be read: No such file or directory")


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert failure(path).endswith("a.yaml: cannot be read: is not a text file")


def test_what_is_not_yaml():
    assert failure("spec: [1,\n").startswith("the text, line 2: cannot be read as YAML: ")


def test_control_characters():
    assert failure("spec: \x00").startswith("the text: cannot be read as YAML: ")


@pytest.mark.parametrize("text", ["", "just words", "kind: Deployment", "- 1\n- 2"])
def test_nothing_to_load(text):
    assert failure(text) == (
        "the text: holds no AdapterDeployment (apiVersion adaptwin.io/v1alpha1); exactly one is expected"
    )


def test_too_much_to_load():
    assert failure(f"{TEXT}---\n{TEXT}").startswith("the text: holds 2 AdapterDeployment")


def test_another_version():
    assert failure(TEXT.replace("v1alpha1", "v1")) == (
        'apiVersion: "adaptwin.io/v1" is not one of adaptwin.io/v1alpha1'
    )


def test_a_field_that_is_set_twice():
    text = TEXT.replace("  profile:", "  model: {name: other}\n  profile:")
    assert failure(text) == ('the text, line 9: cannot be read as YAML: the field "model" is set twice')


def test_a_key_that_is_a_list():
    assert failure("? [a]\n: 1\n").startswith("the text, line 1: cannot be read as YAML")


def test_dates_stay_text():
    text = TEXT.replace("name: support", "name: 2026-11-22")
    assert load_adapter_deployment(text).spec.adapters[0].name == "2026-11-22"


def test_each_fault_has_its_own_line():
    text = TEXT.replace("rank: 8", "rank: 12").replace("name: llama\n", "nam: llama\n")
    assert failure(text).splitlines() == [
        "spec.model.name: is required",
        "spec.model.nam: there is no such field; did you mean name?",
        "spec.adapters[0].rank: 12 is not one of 1, 8, 16, 32, 64, 128, 256, 320, 512",
    ]


def test_many_faults_are_counted():
    adapters = [{"name": f"a{i}", "rank": 3, "rate": 1, "source": {"path": "/a"}} for i in range(30)]
    item = load_adapter_deployment(TEXT).to_object()
    item["spec"]["adapters"] = adapters
    with pytest.raises(SpecError) as caught:
        parse_adapter_deployment(item)
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1] == "… and 20 more"


def test_too_many_adapters():
    item = load_adapter_deployment(TEXT).to_object()
    item["spec"]["adapters"] *= 501
    with pytest.raises(SpecError, match=r"^spec.adapters: holds too many items; at most 500 are allowed$"):
        parse_adapter_deployment(item)


def test_what_the_api_server_adds_is_no_fault():
    item = load_adapter_deployment(TEXT).to_object()
    item["metadata"] |= {"managedFields": [{"manager": "kubectl"}], "generation": 3, "uid": "u"}
    item["status"] = {"observedGeneration": 3, "history": None}
    deployment = parse_adapter_deployment(item)
    assert (deployment.metadata.generation, deployment.status.observed_generation) == (3, 3)


def test_adapters_of_a_config_map():
    text = "- {name: a, rank: 8, source: {path: /a}}\n- {name: b, rank: 16, rate: 1, source: {path: /b}}\n"
    assert [adapter.name for adapter in parse_adapters(text, "configMap/more")] == ["a", "b"]
    assert parse_adapters("", "configMap/more") == ()


def test_faults_in_a_config_map_name_it():
    with pytest.raises(SpecError, match=r"^configMap/more: adapters\[0\].rank: 7 is not one of"):
        parse_adapters("[{name: a, rank: 7, source: {path: /a}}]", "configMap/more")
    with pytest.raises(SpecError, match=r"configMap/more: adapters\[1\].name: \"a\" is listed already"):
        parse_adapters(
            "[{name: a, rank: 8, source: {path: /a}}, {name: a, rank: 8, source: {path: /a}}]",
            "configMap/more",
        )


def test_anchors_may_be_used():
    text = TEXT.replace("rate: 400m", "rate: &hot 400m") + (
        "    - {name: sales, rank: 8, rate: *hot, source: {path: /adapters/sales}}\n"
    )
    assert load_adapter_deployment(text).spec.adapters[1].rate_per_s == 0.4


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "[" * 100 + "]" * 100,
        "[" * 5000 + "]" * 5000,
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in itertools.pairwise("abcdefghi")
        ),
        f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 10_000)}]",
    ],
    ids=["in itself", "deep", "deeper", "laughs", "long"],
)
def test_what_grows_without_end_is_refused(text):
    assert failure(text).startswith("the text: is nested too deeply")
