"""What a running service is told: by params.yaml in a checkout, by deployment.json in a Bento, by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rporec import config
from rporec.files import read_json, write_json
from rporec.release import lookup
from rporec.release.place import Place, locate
from rporec.release.signature import trust_of

ROOT = Path(__file__).resolve().parents[1]
_DEPLOYMENT = "bento/deployment.json"


@dataclass(frozen=True)
class Settings:
    """What a service is told.

    Args:
        serve: section `serve`.
        max_age_days: age at which the champion's data count as stale.
        package: folder of the package that is to serve whatever the registry says; None = follow the champion.
        model: registered name.
        place: the registry, and whose packages are trusted.
        store: Redis URL; None = sqlite in RPOREC_HOME.
        admin_key: of the admin routes; "" = they are closed.
    """

    serve: config.ServeParams
    max_age_days: int
    package: Path | None
    model: str
    place: Place
    store: str | None
    admin_key: str


def load(root: Path = ROOT) -> Settings:
    """Read the settings of the service whose code lies in `root`.

    A package is given by RPOREC_PACKAGE; a Bento, which holds no params.yaml, serves its own.

    Raises:
        InputError: params.yaml breaks its schema, RPOREC_HOME is set to nothing or to a file, or the key
            to check signatures with is missing.
    """
    environment = dict(os.environ)
    if (root / "params.yaml").exists():
        params = config.load(root / "params.yaml")
        serve, days, profile, own = params.serve, params.monitor.max_age_days, params.run.profile, ""
        signed = params.package.signature
    else:
        environment.setdefault("RPOREC_HOME", str(root / "var"))  # no checkout, and perhaps no git to ask for one
        told = read_json(root / _DEPLOYMENT)
        serve, signed = config.ServeParams(**told["serve"]), told["signature"]
        days, profile, own = told["max_age_days"], told["profile"], "outputs/package"
    given = os.environ.get("RPOREC_PACKAGE") or own
    return Settings(
        serve=serve,
        max_age_days=days,
        package=root / given if given else None,  # an absolute path stays as it is
        model=lookup.model_name(profile),
        place=locate(root, environment, trust_of(signed, environment)),
        store=os.environ.get("RPOREC_STORE") or serve.store,
        admin_key=os.environ.get("RPOREC_ADMIN_KEY", ""),
    )


def write_deployment(params: config.Params, folder: Path) -> None:
    """Write what a Bento, laid out in `folder`, is told in place of params.yaml."""
    about = {
        "max_age_days": params.monitor.max_age_days,
        "profile": params.run.profile,
        "signature": params.package.signature,
    }
    write_json(folder / _DEPLOYMENT, {"serve": params.serve.model_dump(mode="json"), **about})
