"""The chart: it ships the very CRDs of crds/, grants little, and runs under the restricted security level."""

import json
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from adapter_twin.version import __version__


@pytest.fixture(scope="session")
def chart(repository):
    return repository / "charts" / "adaptwin"


@pytest.fixture(scope="session")
def render(helm, chart):
    """Renders the chart with `--set` values; gives its objects."""

    def render(*values: str) -> list[dict[str, Any]]:
        sets = [f"--set={value}" for value in values]
        command = [str(helm), "template", "release", str(chart), "--namespace=system", *sets]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return render


@pytest.fixture(scope="session")
def objects(render):
    return render()


def of_kind(objects, kind):
    return [item for item in objects if item["kind"] == kind]


def test_lint(helm, chart):
    subprocess.run([str(helm), "lint", "--strict", str(chart)], check=True, capture_output=True)


def test_the_version_is_the_distributions(chart):
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (__version__, __version__)


def test_the_default_values_fit_their_schema(chart):
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema, jsonschema.Draft202012Validator)


def test_a_value_that_does_not_exist_is_refused(render):
    with pytest.raises(ValueError, match="replicaz"):
        render("operator.replicaz=2")


def test_the_crds_are_those_of_the_repository(repository, chart):
    shipped = {path.name: path.read_text() for path in (chart / "files" / "crds").glob("*.yaml")}
    assert shipped == {path.name: path.read_text() for path in (repository / "crds").glob("*.yaml")}


def test_the_crds_come_out_as_they_went_in_but_for_the_note_to_keep_them(objects, crd):
    (rendered,) = of_kind(objects, "CustomResourceDefinition")
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == crd


def test_the_crds_can_be_left_out(render):
    assert of_kind(render("crds.enabled=false"), "CustomResourceDefinition") == []


def test_rights_hold_no_secrets_and_no_wildcards(objects):
    rules = [
        rule for kind in ("Role", "ClusterRole") for role in of_kind(objects, kind) for rule in role["rules"]
    ]
    assert rules
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "secrets" not in rule["resources"]


def test_named_namespaces_need_no_rights_on_the_cluster(render):
    objects = render("operator.namespaces={a,b}", "rbac.aggregate=false")
    assert of_kind(objects, "ClusterRole") == []
    assert of_kind(objects, "ClusterRoleBinding") == []
    assert sorted(role["metadata"]["namespace"] for role in of_kind(objects, "Role")) == ["a", "b", "system"]
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"--namespace=a", "--namespace=b"} <= set(container["args"])
    assert "--all-namespaces" not in container["args"]


def test_every_binding_binds_a_role_that_is_there_to_the_account_of_the_pods(objects):
    (deployment,) = of_kind(objects, "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    roles = {(role["kind"], role["metadata"]["name"]) for role in objects if role["kind"].endswith("Role")}
    for binding in [*of_kind(objects, "RoleBinding"), *of_kind(objects, "ClusterRoleBinding")]:
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in roles
        assert [subject["name"] for subject in binding["subjects"]] == [account]


def test_pods_keep_the_restricted_level(objects):
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_selectors_select_the_pods(objects):
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    (service,) = of_kind(objects, "Service")
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert service["spec"]["selector"].items() <= labels
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels


def test_one_replica_has_no_disruption_budget(render):
    """It would only keep its node from being drained."""
    assert of_kind(render("operator.replicas=1"), "PodDisruptionBudget") == []
