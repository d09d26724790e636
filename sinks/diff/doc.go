// Package diff compares two sides of a migration, object by object and column by column, and says what differs and why.
//
//	report, err := diff.Compare(ctx, left, right, diff.Options{Org: org, Findings: sink})
//
// # How it works
//
// Entity by entity, both sides yield a fingerprint of each object (Side.Fingerprints), both at once and in any order. A fingerprint becomes
// a row of an Arrow record batch, under a keyed hash of the object's id, in one of 64 partitions; what does not fit into memory goes
// to files, which exist for this process only. Then partition by partition is joined. What is equal there is equal, and that is
// nearly all. What is not is fetched from both sides in full (Side.Fetch), some hundred at a time, and compared column by column: see
// Columns for what is compared, how, and by which named rules a cell counts as equal that is not the same.
//
// # What moves
//
// A side that can change is read at one time and fetched from at a later one. So an object that differs is confirmed only if it was the same at
// both times and has not changed shortly before the watermark, which is the time when the diff began; else it is looked at again, with
// growing pauses. Then it has converged, or is in flight (the left changed after the watermark, or the right after the left was read),
// or is confirmed, or unresolved. Nothing is passed over.
//
// # The law of conservation
//
// What is read of each side is counted where it comes in, before it is partitioned, kept and joined, and must be in the end what the classes add up
// to (Counts, Tally). If it is not, there is no verdict but VerdictBroken, and ErrConservation.
//
// # A side that arrives through a pipeline
//
// Collector is a pipeline.Sink of what the stages make of live objects: the same pipeline as a load, with another sink. When
// the pipelines have run, Collector.Side is the left side of a Compare.
package diff
