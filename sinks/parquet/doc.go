// Package parquet is the file sink that keeps a run as a snapshot: a folder, or a place in an object store, of
// Parquet files that DuckDB, Spark and pandas can query as it is.
//
//	pages/org=…/run=…/table=conversations/000017.parquet   API objects exactly as received       PageRow
//	rows/org=…/run=…/table=transcripts/000017.parquet      exactly what the sink was handed      EndUserRow, …
//	manifest/org=…/run=….json                              what is part of the snapshot          Manifest
//
// A segment is all that one transaction of the PostgreSQL sink commits: a file per layer and table, all with the
// number of the batch. It is durable (temporary name, fsync, rename, fsync of the folder) before that transaction
// begins, and the transaction names it in ingest.snapshot_files. The manifest is written from there, so what it
// names has been committed; a file that it does not name is garbage.
package parquet
