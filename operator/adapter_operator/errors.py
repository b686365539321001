"""Errors of the operator that a person can mend."""

from adapter_twin.errors import AdaptwinError


class SpecError(AdaptwinError):
    """An AdapterDeployment that breaks its schema or its rules.

    Attributes:
        problems: one sentence for each thing wrong, beginning with the field's path.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
