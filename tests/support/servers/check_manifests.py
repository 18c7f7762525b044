"""Checks Kubernetes objects against the published schemas: JSON `{version, objects}` in, a JSON list of complaints out.

Runs in an environment of its own (`tests.support.kube_schemas`), whose schemas weigh 108 MB.
"""

import json
import sys

import kubernetes_validate

FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
"""Kinds that no Kubernetes release has."""


def complaint(thing, version):
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{version} {thing['kind']} {thing['metadata']['name']}: {getattr(error, 'message', error)}"[:500]
    return None


if __name__ == "__main__":
    question = json.load(sys.stdin)
    ours = [thing for thing in question["objects"] if not thing["apiVersion"].startswith(FOREIGN)]
    print(json.dumps([said for thing in ours if (said := complaint(thing, question["version"]))]))
