"""What can be wrong with a finished corpus."""

from dataclasses import dataclass

CHECKS = {
    "manifest": "the manifest is whole, and its counts are those of the records",
    "shards": "every shard is there with its bytes and sha256, and no other",
    "tar": "every tar is plain USTAR in the order of keys",
    "samples": "every record decodes and names the members that are there",
    "observations": "every observation decodes, on its grid and within its place",
    "keys": "every key occurs once",
    "splits": "every sample is in the split that the rule gives its cell",
    "leakage": "no patch, photo or article is shared between splits",
    "index": "the index has a row for each sample, with its bytes and its facts",
    "statistics": "mean, deviation and pixels are those of the train samples",
    "credits": "every observation has a credit, and every licence fits the rule of the corpus",
    "drops": "seen = kept + dropped, and each drop has a row",
}
"""Name and law of each check, in the order in which they are listed."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    check: str
    """One of `CHECKS`."""
    shard: str
    """Path of the file within the corpus, mostly `train/train-000000.tar`."""
    key: str
    """H3 cell of the damaged sample; "" where it is not one sample that is damaged."""
    what: str
    """The fact and the value."""

    def __str__(self) -> str:
        """One line."""
        return " ".join(part for part in (f"[{self.check}]", self.shard, self.key) if part) + f": {self.what}"
