// Package pipeline is the engine of haloingest: it moves batches from one source through stages into one
// sink, in order, several at once, and commits them so that a crash at any moment loses and doubles
// nothing. It knows nothing of Intercom, Halo, SQL or Parquet. This text also describes the house around
// it.
//
// # Ideas in six lines
//
//  1. A stage is a function over a slice. The engine owns channels, goroutines, order, counters and
//     shutdown; who writes a stage never sees a channel.
//  2. One batch in is one batch out, with the same Seq and Cursor, even if it is empty. Only Rebatch
//     merges.
//  3. Order is kept from source to sink, so batches are committed 0, 1, 2, … and a checkpoint is a plain
//     high-water mark.
//  4. There is no channel of acknowledgements: the cursor is committed in the transaction that commits its
//     batch, and what is committed is acknowledged.
//  5. Two speeds: live, which is one ordered pipeline with a cursor; and bulk, which is many pipelines over
//     known segments, each with a ledger row of its own.
//  6. Backfill, sync, webhooks, replay and diff are the same stages between another source and another
//     sink.
//
// # Rooms and arrows
//
//	cmd/haloingest       flags, configuration, wiring, exit codes; cmd/intercomsim: the simulated workspace
//	  internal/ingest    joins the parts into runs; internal/service calls it from a queue, behind pages and webhooks
//	pipeline             the engine; imports the standard library and conc
//	pipeline/record      the nouns: what Intercom sends, what Halo keeps, ids, digests; imports the standard library
//	pipeline/pipetest    a source, a sink, faults and the checks that every source, stage and sink has to pass
//	sources/*            yield pages of record.Object with a cursor behind each
//	stages/*             functions over slices
//	sinks/*              make batches durable
//
//	cmd -> {sources, stages, sinks} -> pipeline/record
//	       {sources, stages, sinks} -> pipeline -> conc
//
// Sources, stages and sinks never import one another; a go statement, a channel or a select stands in this
// package and at the edge of the process only. arch_test.go enforces both and lists the exceptions with
// their reasons.
//
// # The way of an object
//
//	sources/intercom        pages of objects as Intercom sent them           record.Object
//	  Details               one request per conversation, several at once    record.Object
//	stages/extract          tolerant decoding; texts that COPY accepts       record.Item
//	stages/mapids           rows, their ids and digests, references by id    record.Change
//	stages/dedupe           the newest state of each object in the batch     record.Change
//	stages/distill          knowledge of a conversation, two layers          record.Change
//	Rebatch                 transactions of a size that suits the database
//	sinks/postgres          one transaction per batch
//
// Details is a stage and not part of the source because it can work on several batches at once, and because
// after a soft stop what was listed still has to be fetched. What depends on the state of the tables is
// decided in the sink, where that state is exact: to which row an object is bound (contacts that are one
// person share one), the links between rows, and whether anything changes at all.
//
// # The one transaction
//
// The sink moves the stream's checkpoint from batch n-1 to n, under the epoch of its lease, and in the same
// transaction loads the rows, knowledge, tombstones and links, stores the rejects and adds the counts. So
// there is no state in which a row is there and its cursor is not, or the other way round. If the
// connection is lost at COMMIT, the checkpoint says which of the two it was. A second runner has a higher
// epoch, and the first one's next transaction matches no row and fails. Only files cannot share the
// transaction: a Tap makes them durable first, and their names become visible with the commit; a file
// without a row is garbage.
//
// Counts travel with their batch and are committed with it, so totals of a run are exact over crashes.
// Stats, in contrast, are of this process and for the eye.
//
// # Stopping
//
// Run has two contexts. When read is done, the source's context is done and nothing more is read, but what
// was read goes through every stage and is committed; Run returns ErrStopped. When ctx is done, everything
// is cancelled, no further commit begins, and Run returns the cause. Either way the next run resumes at the
// committed cursor and ends in the state of an unbroken run; model_test.go proves it with random pipelines,
// random delays and a fault at a random place.
//
// # Errors
//
//   - A reject: this object is bad, whatever is tried. It goes to Result.Rejects with all that is needed to
//     try again, and is committed with its batch; the rest of the batch goes on. More rejects than
//     RejectLimit are not bad objects but an outage or a changed API: Run ends with ErrTooManyRejects
//     before the batch that went over it is committed. The count begins anew with each Run.
//   - A transient error is retried where it is known to be one: by the HTTP client, which reads status and
//     headers, and by the sink, which reads SQLSTATEs. The engine never tries again.
//   - Any other error, and a panic, is fatal. It takes its place in the order: the batches before it are
//     committed, whatever they still have to wait for, and nothing from it on. The source and all stages
//     before the one that failed are cancelled at once. So what is committed does not depend on timing, and
//     what was paid for in API requests is kept. Run returns an *Error with stage and Seq, of several the
//     first in order.
//
// # Memory
//
// A stage takes the next batch only when it has room, so a slow sink stops the source. MaxInFlight says how
// many batches there can be at once; it depends on the workers and Options.Buffer and not on the stream.
//
// # Writing a source
//
// Yield pages in a fixed order, each with the cursor from which reading goes on behind it, in newly made
// slices: the engine owns a page. A page may be empty and still move the cursor. End soon when the context
// is done; its error may be yielded or not. Retry what can be retried. Test with pipetest.CheckSource.
//
// # Writing a stage
//
// Be a pure function of the slice, or of the slice and what a server says. Process is called by several
// goroutines at once, never with an empty slice; it owns the slice and may return it. It leaves out,
// changes or adds items as it likes; what was wrong with an object goes to Rejects, what is worth knowing
// to Counts. For I/O per item use ForEach. Test with pipetest.CheckStage. A tap (FileSink) is called for
// one batch at a time, in order, with empty ones too.
//
// # Writing a sink
//
// Commit everything of the batch, with its cursor, or nothing. Committing the same batch again must change
// nothing. Calls come one at a time with Seq 0, 1, 2, … of this run. Heed the context, but do not let go of
// a COMMIT whose outcome is unknown. Test with pipetest.CheckSink.
//
// # The service
//
// haloingest serve is wiring, too: webhooks land in an inbox and are hints, jobs of a queue (River, in the same database) make the
// runs that commands make, and what pages show is read from the database. So any number of processes may serve, and each may die: the
// lease of a workspace says who writes, its epoch who does not any more, and the committed checkpoint where the next one goes on.
//
//	internal/service         one table of routes, each with what it needs; listeners, readiness, a stop in order
//	internal/service/work    the queue, its workers, what is due, which processes live, how far runs are
//	internal/service/access  who may do what; pages' sessions of the database see one organisation (sinks/postgres/scope.go)
//	internal/service/site    the integration page; internal/service/frame is its paper
//	internal/service/metric  figures and traces; the parts know hooks only
//
// # What it costs
//
// One to three goroutine switches and no allocation per batch and stage: a few microseconds for a batch of
// any size, so single nanoseconds per item at a thousand items a batch. Batches of one item would be slower
// than plain channels. BenchmarkEngine prints both, beside a bare loop over the same functions.
//
// conc gives the structured goroutines. Its stream is not used; order.go says why.
package pipeline
