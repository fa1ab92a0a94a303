from tests.release.fixtures import *  # noqa: F403
