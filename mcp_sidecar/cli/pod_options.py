"""The flags that say what every injected sidecar is like; knows no manifest."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from mcp_sidecar.cli.arguments import Parser
from mcp_sidecar.injection.template import NATIVE, REGULAR, Options
from mcp_sidecar.injection.vocabulary import ANNOTATIONS

_DEFAULTS = Options()


def add_pod_options(parser: Parser) -> None:
    """What no annotation says."""
    parser.add_argument(
        "--image", metavar="REF", default=_DEFAULTS.image, help="image of the sidecar (default %(default)s)"
    )
    parser.add_argument(
        "--pull-policy",
        choices=("Always", "IfNotPresent", "Never"),
        default=_DEFAULTS.pull_policy,
        help="when nodes pull it (default %(default)s)",
    )
    parser.add_argument(
        "--mode",
        choices=(NATIVE, REGULAR),
        default=_DEFAULTS.mode,
        help="native sidecar, or a container beside the others for clusters before 1.29 (default %(default)s)",
    )
    parser.add_argument(
        "--auth",
        metavar="MODE",
        choices=("none", "token", "jwt", "kubernetes"),
        default=_DEFAULTS.auth,
        help="auth.mode of a sidecar in front of an app that has no ConfigMap of its own (default %(default)s)",
    )
    parser.add_argument("--otlp-endpoint", metavar="URL", default="", help="collector; $(HOST_IP) is the node")
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=variable,
        action="append",
        default=[],
        help="one more variable; may be repeated",
    )


def pod_options(options: argparse.Namespace, **more: str) -> Options:
    """The flags as the template takes them."""
    return Options(
        image=options.image,
        pull_policy=options.pull_policy,
        mode=options.mode,
        auth=options.auth,
        otlp_endpoint=options.otlp_endpoint,
        env=tuple(options.env),
        **more,
    )


def add_annotations(parser: Parser, names: tuple[str, ...], text: str) -> None:
    """One flag for each annotation; `text` says what it does."""
    for name in names:
        annotation = ANNOTATIONS[name]
        parser.add_argument(f"--{name}", metavar="V", type=_value_of(name), help=text.format(annotation.key))


def wishes(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, str]:
    """The values given, by the names of the annotations."""
    given = {name: getattr(options, name.replace("-", "_")) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def variable(text: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not name.replace("_", "a").isalnum() or name[0].isdigit() or not name.isascii():
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=VALUE')
    return name, value


def _value_of(name: str) -> Callable[[str], str]:
    """A value that this annotation can have."""

    def value(text: str) -> str:
        if not ANNOTATIONS[name].accepts(text):
            raise argparse.ArgumentTypeError(f'"{text}" is not of the form of "{ANNOTATIONS[name].example}"')
        return text

    return value
