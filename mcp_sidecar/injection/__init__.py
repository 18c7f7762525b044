"""Puts the sidecar into pods: one template, and four ways to apply it; knows no running sidecar.

    vocabulary   the labels and annotations users write, in one table
    choices      what in a template depends on the pod, and how it is settled for one pod
    template     the container, its volumes and the pod's annotations
    cel          the template as expressions, for    policy      a MutatingAdmissionPolicy
    pods         what is done with one pod, as       operations  on plain data
    kustomize    the Components
    workloads    where in an object pods are; source: YAML with places; edits: operations on text; all of it for
    manifest     `mcp-sidecar inject | uninject`
    admission    one AdmissionReview; webhook: serving it

Files of deploy/ are written from here by hack/deploy.py.
"""
