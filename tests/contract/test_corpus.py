"""What the models say of the corpus; the same corpus goes to a real API server in the integration tests."""

import pytest

import spec_corpus
from adapter_operator.api.load import parse_adapter_deployment
from adapter_operator.errors import SpecError


@pytest.mark.parametrize("case", spec_corpus.valid(), ids=lambda case: case.why)
def test_valid(case):
    assert parse_adapter_deployment(case.item).spec.model.name


@pytest.mark.parametrize("case", spec_corpus.invalid(), ids=lambda case: case.why)
def test_invalid(case):
    with pytest.raises(SpecError) as caught:
        parse_adapter_deployment(case.item)
    assert str(caught.value) == case.fault
