"""What a program in the mesh has by the SPIFFE Workload API, read with the library `spiffe`.

    spiffe_client.py AUDIENCE [TOKEN]

Finds the socket by SPIFFE_ENDPOINT_SOCKET. Prints one JSON object: the program's identity, whether its certificate leads to a
root of its bundle and fits its key, the trust domains whose bundles it has, its token for AUDIENCE and what that says, and
whether the Workload API finds the token good for AUDIENCE and for another; with TOKEN, whose that is.
"""

import json
import os
import stat
import sys

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import WorkloadApiClient

audience = sys.argv[1]
path = os.environ["SPIFFE_ENDPOINT_SOCKET"].removeprefix("unix://")


def good(client, token, audience):
    try:
        return str(client.validate_jwt_svid(token, audience).spiffe_id)
    except Exception as error:
        return type(error).__name__


def domains(bundles):
    return sorted(str(bundle.trust_domain) for bundle in bundles.bundles)


def unmarked():
    """What is answered to a request without the mark against those who were tricked."""
    with grpc.insecure_channel("unix:" + path) as channel:
        call = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
        try:
            call(b"\x0a\x01a", timeout=10)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


with WorkloadApiClient() as client:
    context = client.fetch_x509_context()
    svid = context.default_svid
    roots = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities
    last = svid.cert_chain[-1]
    for root in roots:
        root.public_key().verify(root.signature, root.tbs_certificate_bytes, ec.ECDSA(root.signature_hash_algorithm))

    def leads(root):
        try:
            last.verify_directly_issued_by(root)
            return True
        except Exception:
            return False

    token = client.fetch_jwt_svid({audience})
    said = {
        "id": str(svid.spiffe_id),
        "leads": any(leads(root) for root in roots),
        "fits": svid.leaf.public_key() == svid.private_key.public_key(),
        "x509": domains(context.x509_bundle_set),
        "jwt": domains(client.fetch_jwt_bundles()),
        "token": token.token,
        "subject": str(token.spiffe_id),
        "good": good(client, token.token, audience),
        "other": good(client, token.token, "somebody else"),
        "unmarked": unmarked(),
        "mode": oct(stat.S_IMODE(os.stat(path).st_mode)),
    }
    if len(sys.argv) > 2:
        said["given"] = good(client, sys.argv[2], audience)
    print(json.dumps(said))
