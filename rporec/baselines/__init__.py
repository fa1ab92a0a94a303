"""Strong plain rankers that the Rechead has to beat, fitted in the same run."""

from rporec.baselines.choice import Ranker
from rporec.baselines.fit import fit_all

__all__ = ["Ranker", "fit_all"]
