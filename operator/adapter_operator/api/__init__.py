"""The custom resource as the operator and the command line read it: models, loading, conditions.

Pure values. The schema in `crds/` is the source; a contract test holds these models against it.
"""
