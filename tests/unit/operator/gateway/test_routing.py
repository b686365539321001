"""Routing tables: what is valid, what is left out, and how they are written down."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapter_operator.gateway.document import read_table, to_document
from adapter_operator.gateway.envoy.names import cluster_name, cluster_of_stat, split_cluster_name, stat_name
from adapter_operator.gateway.errors import GatewayError
from adapter_operator.gateway.routing import Endpoint, VirtualHost, routing_table

ENGINE = Endpoint("10.0.0.7", 8000)


def host(name: str = "ns/a", *domains: str, **fields: object) -> VirtualHost:
    return VirtualHost(name, domains or ("*",), "base", (ENGINE,), **fields)


def test_hosts_with_domains_of_their_own_are_all_kept():
    table = routing_table([host("ns/a", "a.example"), host("ns/b", "*")])
    assert [kept.name for kept in table.hosts] == ["ns/a", "ns/b"]
    assert table.conflicts == ()


def test_of_two_hosts_that_claim_a_domain_the_earlier_keeps_it():
    table = routing_table([host("ns/a", "x.example"), host("ns/b", "y.example", "X.example")])
    assert [kept.name for kept in table.hosts] == ["ns/a"]
    assert str(table.conflicts[0]) == "ns/b: host X.example belongs to ns/a"


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([host(), host()], "hosts: ns/a is there twice"),
        ([host("ns/a", adapters={"base": ()})], "ns/a: adapter base has the name of the base model"),
        ([VirtualHost("ns/a", (), "base")], r"ns/a: domains must name at least one host, or \*"),
    ],
)
def test_impossible_tables_are_refused_with_a_sentence(hosts, message):
    with pytest.raises(GatewayError, match=f"^{message}$"):
        routing_table(hosts)


def test_a_table_survives_being_written_down():
    table = routing_table(
        [
            host("ns/a", "a.example", adapters={"x.y/z": (ENGINE, Endpoint("fd00::1", 8000))}),
            host("ns/b", lists_models=False),
        ]
    )
    assert read_table(yaml.safe_dump(to_document(table)), "routes.yaml") == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hosts: [", "routes.yaml: not YAML"),
        ("hosts: [{name: a}]", "routes.yaml: hosts.0.servedName: Field required"),
        (
            "hosts: [{name: a, servedName: m, base: [nowhere]}]",
            "routes.yaml: hosts.0.base.0: must be an address",
        ),
        (
            "hosts: [{name: a, servedName: m, base: ['h:1']}]",
            "routes.yaml: hosts.0.base.0: 'h' does not appear",
        ),
        ("hosts: [{name: 'a|b', servedName: m}]", "routes.yaml: hosts.0.name: String should match"),
        ("host: []", "routes.yaml: host: Extra inputs are not permitted"),
    ],
)
def test_a_bad_document_is_refused_by_the_name_of_its_field(text, message):
    with pytest.raises(GatewayError) as caught:
        read_table(text, "routes.yaml")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_names_of_statistics_are_plain_and_can_be_turned_back(cluster):
    stat = stat_name(cluster)
    assert cluster_of_stat(stat) == cluster
    assert not set(stat) & set(".:|/ \n")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_model_never_leaves_its_virtual_host(model):
    assert split_cluster_name(cluster_name("ns/a", model)) == ("ns/a", model)
