"""Prometheus text as the gateway prints it, with a list of the lines that a strict scraper would refuse."""

import re
from dataclasses import dataclass

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"^({NAME})(?:\{{(.*)\}})? (\S+)(?: \S+)?$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gauge": ("",),
    "info": ("_info",),
    "unknown": ("",),
}


@dataclass(frozen=True)
class Sample:
    name: str
    labels: tuple
    value: float


class Metrics:
    """One scrape."""

    def __init__(self, text):
        self.text = text
        self.types = {}
        self.helps = {}
        self.samples = []
        self.faults = []
        seen = set()
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                if name in self.types:
                    self.faults.append(f"line {number}: a second TYPE for {name}")
                self.types[name] = kind
            elif line.startswith("# HELP "):
                _, _, name, *text = line.split(" ", 3)
                self.helps[name] = " ".join(text)
            elif line and not line.startswith("#"):
                sample = parse(line, number)
                key = (sample.name, sample.labels)
                if key in seen:
                    self.faults.append(f"line {number}: {key} twice")
                seen.add(key)
                self.samples.append(sample)

    def family(self, sample):
        """The declared family that a sample belongs to, or None."""
        for name, kind in self.types.items():
            suffixes = SUFFIXES.get(kind, ("",)) + (("",) if kind == "counter" else ())
            if any(sample.name == name + suffix for suffix in suffixes):
                return name
        return None

    def value(self, metric, **labels):
        """The sum of the samples of that name which carry those labels; 0.0 where there are none."""
        return sum(sample.value for sample in self.find(metric, **labels))

    def find(self, metric, **labels):
        wanted = set(labels.items())
        return [s for s in self.samples if s.name == metric and wanted <= set(s.labels)]

    def ledger(self):
        """The columns of the ledger (fine print, 1) as a dict."""
        columns = {
            outcome: self.value("penstock_requests_total", outcome=outcome)
            for outcome in ("stored", "replayed", "answered", "rejected", "gone")
        }
        columns["received"] = self.value("penstock_requests_received_total")
        columns["in_flight"] = self.value("penstock_requests_in_flight")
        columns["any"] = self.value("penstock_requests_total")
        return columns

    def assert_balanced(self):
        """received = stored + replayed + answered + rejected + gone + in flight, and no outcome besides these."""
        ledger = self.ledger()
        named = sum(ledger[c] for c in ("stored", "replayed", "answered", "rejected", "gone"))
        assert named == ledger["any"], f"an outcome that the ledger does not know: {ledger}\n{self.text}"
        assert ledger["received"] == named + ledger["in_flight"], f"the ledger does not balance: {ledger}"
        return ledger


def parse(line, number):
    match = SAMPLE.match(line)
    assert match, f"line {number} is no sample: {line!r}"
    name, inside, value = match.groups()
    labels, rest = [], inside or ""
    while rest:
        label = LABEL.match(rest)
        assert label, f"line {number}: labels {inside!r}"
        unescaped = label[2].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        labels.append((label[1], unescaped))
        rest = rest[label.end():]
    return Sample(name, tuple(sorted(labels)), float(value))
