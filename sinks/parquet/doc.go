// Package parquet is the file sink that keeps a run as a snapshot: a folder, or a place in an object store, of
// Parquet files that DuckDB, Spark and pandas can query as it is.
//
//	pages/org=…/run=…/table=conversations/conversations.000017.1.parquet   API objects exactly as received     PageRow
//	rows/org=…/run=…/table=transcripts/conversations.000017.1.parquet      exactly what the sink was handed    EndUserRow, …
//	manifest/org=…/run=….json                                              what is part of the snapshot        Manifest
//
// A segment is all that one transaction of the PostgreSQL sink commits: a file per layer and table, all with the
// number of the batch. The file's name is stream, segment and the attempt of the run: the attempt is there so that a runner
// that lost its lease and wakes up later cannot write over a file of the one that took over.
//
// # What is durable when
//
// A file is durable (temporary name, fsync, rename, fsync of the folder; in an object store a confirmed upload) before the transaction
// begins that names it in ingest.snapshot_files. The manifest is written from there: now and then, whenever a run begins or ends, and
// before the database is told that a run is complete. So what it names has been committed, and a file that it does not name is
// garbage, which the run's next attempt sweeps. An attempt sweeps files of its own run only, and only those of attempts before it.
//
// # What stands in a file
//
// Everything that a file is part of (organisation, run, layer, table, stream, segment, versions) stands in its footer, too, so that a
// file that was renamed or copied is known for it. FileInfo has its size, its SHA-256, and fingerprints of its rows that do not depend on
// their order.
//
// # Encryption
//
// An encrypted file ends in .parquet.enc; see Encrypt. Its key is fresh, sealed by the caller, and kept in FileInfo.Key. Of the
// manifest, the names of the workspace, its teammates, teams, tags and so on are encrypted in the same way (Manifest.Sealed; manifests of version
// 1 show them). What else it tells is open to all: organisation and run, times, settings, names of tables, sizes, the first and last id of each file.
package parquet
