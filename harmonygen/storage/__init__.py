"""A file under its final name is whole: shards, Parquet cells, remote folders, fetched inputs, leases."""
