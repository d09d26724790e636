// Package snapshot reads what sinks/parquet wrote: the runs of a snapshot as changes, ready for a sink (Rows), or as objects, ready
// for the stages (Objects).
//
// Nothing of a file is believed before its SHA-256 has been found to be what the manifest says: a file is read whole, as segments are
// small (one transaction of the database each), hashed, and only then decoded. So a damaged file never reaches the database, and a
// file that changes while it is read cannot either.
//
// Decoding goes column by column through parquet-go's values, of which only pages are taken apart, never rows: what rows
// refer to lies in a few large pieces of memory per segment, which are freed with it.
package snapshot
