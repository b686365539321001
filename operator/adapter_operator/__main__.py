"""`python -m adapter_operator` is `adaptwin`."""

from adapter_operator.cli import main

main()
