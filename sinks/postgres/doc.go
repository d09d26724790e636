// Package postgres is the sink that loads Halo's tables, and the memory of the program: what it keeps between runs is in the schema
// ingest of the same database, because only there can it be committed together with the rows it speaks of.
//
//	ingest.leases        who may write for an organisation; the epoch fences everybody before (Lease)
//	ingest.runs          what was asked for and how it ended (Run)
//	ingest.checkpoints   where each stream of a run stands: cursor, batches committed, counts (Checkpoint)
//	ingest.rejects       objects that could not be loaded, as they came
//	ingest.id_map        which row each contact and company went to
//	ingest.pending_links references to objects that have not arrived
//	ingest.seen, unseen  what a full walk came across, and what it missed
//	ingest.snapshot_files the files of snapshots, each named in the transaction that loads what it holds (SnapshotFile)
//	ingest.segments      the complete segments of a bulk load (Sink.CommitSegment)
//	ingest.before_images rows as they were before a run changed them, for the newest 50 runs (DB.Undo)
//	ingest.attachments   what became of the files that conversations and tickets name (Attachment)
//	ingest.diff_runs, diff_findings  comparisons, and what the newest 10 found (DiffRun)
//	ingest.connections   the connected workspaces; written by the program's connection package
//
// # Exactly once
//
// A batch is one transaction. Its first statement moves the checkpoint from batch n-1 to n under the epoch of the lease; the rows, rejects
// and counts follow. So the committed cursor is the only acknowledgement there is, and three questions have one answer, the checkpoint's
// row: where to resume (its cursor), whether a COMMIT whose answer was lost took effect (its number is n, or still n-1), and whether
// somebody else has taken over (its epoch is not ours). The row lock keeps a second writer out while a batch is under way.
//
// Time plays no part in that. A holder that is silent for 30 s may be replaced, and a process that dies frees its lease at once, but it is
// the epoch that stops one that comes back: acquiring a lease raises it in the lease and in every checkpoint that can still be moved.
//
// # Errors
//
// ErrDatabase is every failure of the database that did not pass in time; ErrHeld and ErrFenced say that somebody else has the
// workspace; ErrURL, ErrSchema and ErrSchemaNewer are for a person to put right. No error holds a password or the values of a row.
package postgres
