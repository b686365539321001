"""A real Kubernetes control plane for tests, on a bare machine.

Who does what: ``programs`` says what is needed and where it may come from; ``download`` and ``build`` fetch
it; ``cache`` keeps it; ``pki``, ``processes`` and ``plane`` run it; ``cluster`` is what a test holds in its
hand; ``node`` plays a GPU node and its kubelet; ``chart`` installs the operator's identity.
"""
