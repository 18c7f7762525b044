"""What `helm test` does in webhook mode: shows the webhook a pod, as the API server would, and looks for the sidecar in
the answer. Arguments: the webhook's address, the file of its authority. The standard library only."""

import base64
import json
import ssl
import sys
import urllib.request

address, authority = sys.argv[1:]
pod = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "test", "namespace": "default"},
    "spec": {"containers": [{"name": "application", "image": "application"}], "terminationGracePeriodSeconds": 30},
}
request = {
    "uid": "mcp-sidecar-helm-test",
    "kind": {"group": "", "version": "v1", "kind": "Pod"},
    "resource": {"group": "", "version": "v1", "resource": "pods"},
    "namespace": "default",
    "operation": "CREATE",
    "object": pod,
    "dryRun": True,
}
review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
question = urllib.request.Request(address, json.dumps(review).encode(), {"Content-Type": "application/json"})
with urllib.request.urlopen(question, timeout=10, context=ssl.create_default_context(cafile=authority)) as reply:
    answer = json.load(reply)["response"]
patches = json.loads(base64.b64decode(answer.get("patch", "W10=")))
added = [patch["path"] for patch in patches]
if not any(path.startswith("/spec/initContainers") for path in added):
    sys.exit(f"the webhook answered, but added no sidecar: {json.dumps(answer)}")
print(f"the webhook at {address} adds the sidecar: {', '.join(added)}")
