package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// ErrInvariant says that totals do not add up: a fault of this program, never of its input. What it is about was not committed.
var ErrInvariant = errors.New("an invariant is broken")

func invariant(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvariant, fmt.Sprintf(format, args...))
}

// interfered says that somebody else changed what this transaction had read. It counts as a serialization failure: trying again helps.
func interfered(format string, args ...any) error {
	return &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: fmt.Sprintf(format, args...)}
}

// SinkOptions configures a Sink. The zero value works.
type SinkOptions struct {
	// AsyncCommit lets COMMIT return before the batch is on disk (synchronous_commit = off): a crash of the server may lose the
	// last batches together with their checkpoints, so that they are redone. Worth it for small batches on slow disks only.
	AsyncCommit bool
	// Rejects says when objects that the database refuses are no longer bad objects but a table that does not fit. The engine counts the
	// rejects that come with a batch; these are the sink's own.
	Rejects pipeline.RejectLimit
	Now     func() time.Time // the clock for states that do not say when they were read; nil: time.Now
	// Snapshot is the location of the snapshot that a batch's files are part of: a folder or a bucket's URL, without secrets. It must be
	// set where batches name such files. A file's Meta marshals to JSON with the fields path, layer, stream, table, seq, rows, bytes and
	// sha256 (sinks/parquet.FileInfo). The number of a batch over all attempts of its run, which a writer may use as seq, is
	// Checkpoint.Seq, read when the stream is opened, plus Batch.Seq.
	Snapshot string
	// Rewrite loads what came even if the target says by its digests that it is the same: somebody may have changed a row and left its digest. All
	// that this program writes of the row is put right, with links, knowledge and bindings, and knowledge of a conversation that is not
	// its own goes. What was read after what came is left alone; a later source_updated_at alone does not protect a row, since that may be what
	// was changed. What cannot be told apart from Halo's own stays: keys of documents and values that Intercom lacks on rows that are shared,
	// activity stamps.
	Rewrite bool
	Again   *Again // nil: what is loaded comes for the first time
}

// Sink loads the changes of one stream into Halo's tables, one transaction per batch: checkpoint (which fences), probe, rows, links,
// knowledge, tombstones, rejects and what a full walk has seen. The committed checkpoint is the acknowledgement; a batch that
// is presented again is not loaded again.
//
// A Sink has a connection of its own, made on first use and made anew when it breaks. It is not safe for concurrent use; several
// sinks of one organisation, in one process or in several, may work at the same time.
//
// Counts that are committed with a batch, beside its own: "load/<table>/<outcome>" for the four tables of objects, where the
// outcomes inserted, updated, equal, stale, deleted and rejected of one table add up to the items of its kind; and
// "load/knowledge/<inserted|updated|equal|deleted|relinked>" in rows of knowledge.
type Sink struct {
	run     *Run
	stream  string
	options SinkOptions
	base    uint64 // the checkpoint's Seq when this sink began
	begun   bool
	session *session
	targets targets
	scratch scratch
	encoder record.Encoder
	items   []item
	files   files
	// How much this sink has loaded, and from where on the tables are analysed again; see analyze.
	loaded, analyzeAt int64
	tally             tally
	// fault is called at named points of a transaction, in tests.
	fault func(point string) error
}

// Sink returns a sink for the named stream of the run. Close it after the last Commit.
func (r *Run) Sink(stream string, o SinkOptions) *Sink {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rejects.Share == 0 {
		o.Rejects.Share = 0.01
	}
	if o.Rejects.Min == 0 {
		o.Rejects.Min = 100
	}
	return &Sink{run: r, stream: stream, options: o, targets: newTargets(), fault: func(string) error { return nil }}
}

// Name is the stage's name in metrics and rejects.
func (s *Sink) Name() string { return stageName }

const stageName = "load"

// Close closes the connection. An open transaction, which only an aborted Commit leaves, is rolled back by that.
func (s *Sink) Close(ctx context.Context) error {
	if s.session == nil {
		return nil
	}
	conn := s.session.conn
	s.session = nil
	return wrap(ctx, hangUp(ctx, conn), "close the sink of %s", s.stream)
}

// Commit makes the batch durable, or returns an error and leaves no trace of it. Failures that pass (see Transient), a COMMIT whose
// answer was lost among them, are repeated for as long as DB's Options.RetryFor says. An object that the database refuses becomes a
// reject, stage "load", in the same transaction; the rest of the batch is loaded. ErrFenced means that another holder has
// taken over. The batch is not changed.
func (s *Sink) Commit(ctx context.Context, b pipeline.Batch[record.Change]) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.commit(ctx, &work{batch: b, seq: s.base + b.Seq + 1, op: fmt.Sprintf("load batch %d of %s", b.Seq, s.stream)})
}

// work is one batch that is to be committed.
type work struct {
	batch   pipeline.Batch[record.Change]
	seq     uint64 // of the checkpoint, when it is committed
	segment string // "" if it is none
	op      string
	known   bool // set if the segment was complete before
}

// begin reads where the stream stands, once.
func (s *Sink) begin(ctx context.Context) error {
	if s.begun {
		return nil
	}
	c, err := s.run.Checkpoint(ctx, s.stream)
	if err != nil {
		return err
	}
	s.base, s.begun = c.Seq, true
	return nil
}

func (s *Sink) commit(ctx context.Context, w *work) error {
	if err := s.take(w.batch); err != nil {
		return fmt.Errorf("%s: %w", w.op, err)
	}
	careful := false
	err := s.run.lease.db.retry(ctx, w.op, func(ctx context.Context) error {
		err := s.attempt(ctx, w, careful)
		if err == nil || careful || !poison(err) {
			return err
		}
		// A row that the database refuses, or somebody else was faster with a key. Find out row by row.
		careful = true
		s.run.lease.db.log.DebugContext(ctx, "loading a batch carefully", "op", w.op, "cause", describe(err))
		return s.attempt(ctx, w, careful)
	})
	switch {
	case err == nil:
		s.analyze(ctx, len(w.batch.Items))
		return nil
	case errors.Is(err, ErrInvariant), errors.Is(err, pipeline.ErrTooManyRejects):
		return fmt.Errorf("%s: %w", w.op, err)
	case errors.Is(err, ErrFenced):
		s.run.lease.lose(ErrFenced)
	}
	return wrap(ctx, err, "%s", w.op)
}

// take reads the batch into items and checks that they are what they say.
func (s *Sink) take(b pipeline.Batch[record.Change]) error {
	var err error
	if s.files, err = takeFiles(b.Files, s.options.Snapshot); err != nil {
		return err
	}
	if cap(s.items) < len(b.Items) {
		s.items = make([]item, len(b.Items))
	}
	s.items = s.items[:len(b.Items)]
	now := s.options.Now().UTC().Truncate(time.Microsecond)
	for i := range b.Items {
		c := &b.Items[i]
		it := &s.items[i]
		*it = item{change: c, version: c.Version, transcript: c.Transcript}
		if c.Gone == nil {
			h := it.head()
			if h == nil || it.kind() != c.Kind {
				return invariant("item %d, %s %s, has no row of its kind", i, c.Kind, c.SourceID)
			}
			if h.Org != s.run.lease.org {
				return invariant("%s %s belongs to organisation %s", c.Kind, c.SourceID, h.Org)
			}
			if h.Hash == (record.Digest{}) {
				return invariant("%s %s is not sealed", c.Kind, c.SourceID)
			}
			it.version.UpdatedAt = h.SourceUpdatedAt
		}
		it.version.Rank = 0
		it.version.UpdatedAt = it.version.UpdatedAt.UTC().Truncate(time.Microsecond)
		it.version.FetchedAt = it.version.FetchedAt.UTC().Truncate(time.Microsecond)
		if it.version.FetchedAt.IsZero() {
			it.version.FetchedAt = now
		}
		if c.Gone != nil && it.version.UpdatedAt.IsZero() {
			it.version.UpdatedAt = it.version.FetchedAt
		}
	}
	return nil
}

func (it *item) kind() record.Kind {
	c := it.change
	switch {
	case c.EndUser != nil:
		return record.KindContact
	case c.Company != nil:
		return record.KindCompany
	case c.Transcript != nil:
		return record.KindConversation
	}
	return record.KindTicket
}

// attempt is one transaction.
func (s *Sink) attempt(ctx context.Context, w *work, careful bool) (err error) {
	b := w.batch
	if err := s.connect(ctx); err != nil {
		return err
	}
	tx, err := s.session.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			rollback(ctx, tx)
		}
	}()
	done, err := s.run.advance(ctx, tx, s.stream, step{Seq: w.seq, Cursor: b.Cursor})
	if err != nil {
		return err
	}
	if done && w.segment != "" {
		if err := w.entered(ctx, tx, s.run, s.stream); err != nil {
			return err
		}
	}
	if !done && w.segment != "" {
		if w.known, err = w.enter(ctx, tx, s.run, s.stream); err != nil {
			return err
		}
	}
	if done || w.known {
		rollback(ctx, tx)
		return nil
	}
	s.tally.items += int64(len(b.Items)) // taken back if the batch fails
	defer func() {
		if err != nil {
			s.tally.items -= int64(len(b.Items))
		}
	}()
	l := &loader{
		session: s.session, tx: tx, run: s.run, org: s.run.lease.org, targets: &s.targets, careful: careful,
		used: make(map[*target]bool), scratch: &s.scratch, encoder: &s.encoder, fault: s.fault,
		limit: s.options.Rejects, tally: s.tally, again: s.options.Again, rewrite: s.options.Rewrite,
	}
	items := make([]*item, len(s.items))
	for i := range s.items {
		it := &s.items[i]
		it.outcome, it.transcript, it.reject = 0, it.change.Transcript, pipeline.Reject{}
		items[i] = it
	}
	if err := s.fault("advanced"); err != nil {
		return err
	}
	if careful {
		err = l.loadCareful(ctx, items)
	} else {
		err = l.load(ctx, items)
	}
	if err != nil {
		return err
	}
	if err := s.fault("loaded"); err != nil {
		return err
	}
	if err := l.settle(ctx, s.files.settled); err != nil {
		return err
	}
	if err := l.finish(ctx, s.stream, b, items); err != nil {
		return err
	}
	if err := s.fault("finished"); err != nil {
		return err
	}
	if err := l.keepFiles(ctx, s.files.snapshot); err != nil {
		return err
	}
	if err := l.keepAttachments(ctx, s.files.objects, items); err != nil {
		return err
	}
	if err := s.fault("before commit"); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	s.tally.rejects = l.tally.rejects
	if f := s.run.lease.db.observe.Committed; f != nil {
		f(Committed{Stream: s.stream, Counts: l.counts, Rejects: l.refused, Waited: l.waited})
	}
	if err := s.fault("committed"); err != nil {
		return err
	}
	return s.session.replan(ctx, int64(len(items))+l.counts["load/knowledge/inserted"], s.options.Now())
}

// connect makes the connection if there is none that works.
func (s *Sink) connect(ctx context.Context) error {
	if s.session != nil && !s.session.conn.IsClosed() {
		return nil
	}
	conn, err := s.run.lease.db.connect(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, s.targets.sessionSQL(s.options.AsyncCommit)).ReadAll(); err != nil {
		return errors.Join(err, hangUp(ctx, conn))
	}
	s.session = &session{conn: conn, prepared: make(map[string]bool), planned: s.options.Now()}
	return nil
}

// finish adds to the transaction what belongs to the batch as a whole.
func (l *loader) finish(ctx context.Context, stream string, b pipeline.Batch[record.Change], items []*item) error {
	rejects := b.Rejects[:len(b.Rejects):len(b.Rejects)]
	seen, loaded := make(map[record.Kind][]string), make(map[record.Kind][]string)
	totals := make(map[record.Kind][len(outcomes)]int64)
	for _, it := range items {
		c := it.change
		if it.outcome == 0 {
			return invariant("%s %s has no outcome", c.Kind, c.SourceID)
		}
		t := totals[c.Kind]
		t[it.outcome]++
		totals[c.Kind] = t
		if it.outcome == rejected {
			rejects = append(rejects, it.reject)
		} else if l.again.mends(it) {
			loaded[c.Kind] = append(loaded[c.Kind], c.SourceID)
		}
		if c.Gone == nil && c.SourceID != "" {
			seen[c.Kind] = append(seen[c.Kind], c.SourceID)
		}
	}
	var sum int64
	for kind, t := range totals {
		for o, n := range t {
			if n > 0 {
				sum += n
				l.counts.Add("load/"+kind.Table()+"/"+outcome(o).String(), n)
			}
		}
	}
	if sum != int64(len(items)) {
		return invariant("%d items have %d outcomes", len(items), sum)
	}
	for _, r := range b.Rejects {
		if kind, ok := kindOf(r.Kind); ok && r.ID != "" {
			seen[kind] = append(seen[kind], r.ID)
		}
	}
	fresh, err := l.again.news(ctx, l, rejects)
	if err != nil {
		return err
	}
	if err := l.run.insertRejects(ctx, l.tx, stream, fresh); err != nil {
		return err
	}
	l.refused = len(fresh)
	for _, kind := range record.Kinds {
		if err := l.run.resolveRejects(ctx, l.tx, kind, loaded[kind], rejects); err != nil {
			return err
		}
		if err := l.run.markSeen(ctx, l.tx, kind, seen[kind]); err != nil {
			return err
		}
	}
	l.counts.Merge(b.Counts)
	return l.count(ctx, stream)
}

// count adds the counts to the checkpoint, which this transaction has locked.
func (l *loader) count(ctx context.Context, stream string) error {
	counts, err := encodeCounts(l.counts)
	if err != nil || counts == nil {
		return err
	}
	_, err = l.conn.Exec(ctx, `UPDATE ingest.checkpoints c SET counts = (
			SELECT coalesce(jsonb_object_agg(key, n), '{}') FROM (
				SELECT key, sum(value::bigint)::bigint AS n
				FROM (SELECT * FROM jsonb_each_text(c.counts) UNION ALL SELECT * FROM jsonb_each_text($4::jsonb)) a
				GROUP BY key) b)
		WHERE c.org_id = $1 AND c.run_id = $2 AND c.stream = $3`, l.org, l.run.ID, stream, counts)
	return err
}

var _ pipeline.Sink[record.Change] = (*Sink)(nil)
