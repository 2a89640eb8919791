"""Takes Kinesis records apart with the vendor's own module, which has a virtual environment of its own.

Runs there as a program: records from standard input, as JSON; what is in them to standard output.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path


def user_records(records):
    """What consumers get of these records (as boto3's get_records has them), in order: data, key, hash key, place in the
    aggregate or None, sequence number. Skips the test if the module cannot be had."""
    import pytest

    from .emulators import TOOLS
    python = TOOLS / "kpl" / "bin" / "python"
    if not python.exists():
        pytest.skip(os.environ.get("PENSTOCK_NO_KPL") or "aws-kinesis-agg is not installed (run tests/run)")
    given = [{
        "data": base64.b64encode(record["Data"]).decode(), "partitionKey": record["PartitionKey"],
        "sequenceNumber": record["SequenceNumber"],
    } for record in records]
    ran = subprocess.run([python, Path(__file__)], input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True)
    return [{**one, "data": base64.b64decode(one["data"])} for one in json.loads(ran.stdout)]


def main():
    from aws_kinesis_agg.deaggregator import deaggregate_records
    events = [{
        "eventSource": "aws:kinesis",
        "kinesis": {"kinesisSchemaVersion": "1.0", "approximateArrivalTimestamp": 0, **record},
    } for record in json.load(sys.stdin)]
    found = []
    for event in deaggregate_records(events):
        record = event["kinesis"]
        data = record["data"]
        found.append({
            "data": data.decode() if isinstance(data, bytes) else data,
            "key": record["partitionKey"],
            "hash_key": record.get("explicitHashKey"),
            "place": record.get("subSequenceNumber") if record.get("aggregated") else None,
            "sequence": record["sequenceNumber"],
        })
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
