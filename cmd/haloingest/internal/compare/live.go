// Package compare opens the sides of a diff and runs one: the connected workspace, read through the same sources and
// stages as a backfill; the database; a snapshot. It also mends what a diff found. The commands call it; it prints
// nothing.
package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
	"haloingest/stages/distill"
)

var time0 time.Time

// Options of a Live. Client and Connection are needed.
type Options struct {
	Client      *intercom.Client
	Connection  connection.Connection
	Log         *slog.Logger
	Concurrency int    // detail requests under way at once
	Dir         string // for temporary files; empty: the system's
	Rules       distill.Rules
	Distiller   distill.Distiller // nil: offline
	Keep        Keep              // keeps what is read as a snapshot
	// ListMessages puts the number of messages into the hash of a listed conversation, for ListedDatabase.
	ListMessages bool
}

// Live is the connected workspace as a side of a diff. It reads what a backfill reads, through the same stages, and
// writes nothing. Nothing is read twice: the knowledge of conversations is kept aside when they are read. Close it.
//
// At diff.LevelFast conversations are not read one by one: a listing tells their version and how many messages
// they have, which is all that Hash covers; see ListedDatabase.
type Live struct {
	o         Options
	mapping   *ingest.Mapping        // nil: not prepared
	keeper    *keeper                // nil: no snapshot is kept
	knowledge *spill                 // of the last walk over conversations
	tallies   map[record.Kind]*tally // of what was read to its end
	named     map[string]bool        // companies that contacts name

	mu      sync.Mutex // guards what follows, for who asks from other goroutines
	walks   []*progress
	checks  []diff.Check
	notes   []string
	rejects map[record.Kind]map[string]string // by id: why
}

// NewLive returns the side.
func NewLive(o Options) *Live {
	return &Live{o: o, rejects: make(map[record.Kind]map[string]string), tallies: make(map[record.Kind]*tally), named: make(map[string]bool)}
}

// Close removes temporary files.
func (l *Live) Close() error {
	if l.knowledge == nil {
		return nil
	}
	err := l.knowledge.close()
	l.knowledge = nil
	return err
}

// Name is intercom.
func (l *Live) Name() string { return "intercom" }

// Moves is true: people go on writing.
func (l *Live) Moves() bool { return true }

// Requests is how many were asked of Intercom so far.
func (l *Live) Requests() int64 { return l.o.Client.Stats().Total }

// BytesRead is how many bytes were read from Intercom so far.
func (l *Live) BytesRead() int64 { return l.o.Client.Stats().Bytes }

// Checks are the totals that were counted in a second way so far.
func (l *Live) Checks() []diff.Check {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]diff.Check(nil), l.checks...)
}

// Notes are what a reader of the report has to know of this side.
func (l *Live) Notes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.notes...)
}

func (l *Live) check(c ...diff.Check) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks = append(l.checks, c...)
}

func (l *Live) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// prepare reads the names that objects only number, once.
func (l *Live) prepare(ctx context.Context) error {
	if l.mapping != nil {
		return nil
	}
	reference, warnings, err := l.o.Client.Reference(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		l.o.Log.Warn("reference data left out; numbers stand in for names", "why", w)
	}
	conn := l.o.Connection
	l.mapping = &ingest.Mapping{
		Org: conn.Org, UserIDField: conn.UserIDField, CompanyIDField: conn.CompanyIDField, Reference: reference,
		Rules: l.o.Rules, Distiller: l.o.Distiller, Log: l.o.Log,
	}
	if l.o.Keep.Store != nil {
		l.keeper = newKeeper(l.o)
	}
	return nil
}

// walked notes that a kind was read to its end.
func (l *Live) walked(t *tally) { l.tallies[t.kind] = t }

// entityOf is the entity that a kind's rows are.
func entityOf(kind record.Kind) string { return kind.Table() }

const knowledge = "knowledge"

// kindOf is the kind whose stream holds an entity.
func kindOf(entity string) (record.Kind, error) {
	if entity == knowledge {
		return record.KindConversation, nil
	}
	for _, kind := range record.Kinds {
		if entityOf(kind) == entity {
			return kind, nil
		}
	}
	return "", fmt.Errorf("there is no entity %q", entity)
}

// Fingerprints reads the entity's stream to its end.
func (l *Live) Fingerprints(ctx context.Context, entity string, level diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		kind, err := kindOf(entity)
		if err == nil {
			err = l.prepare(ctx)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		if entity == knowledge {
			if l.knowledge == nil {
				if _, err := l.walk(ctx, kind, level, func([]record.Fingerprint, error) bool { return true }); err != nil {
					yield(nil, err)
					return
				}
			}
			for batch, err := range l.knowledge.all() {
				if !yield(batch, err) || err != nil {
					return
				}
			}
			return
		}
		if _, err := l.walk(ctx, kind, level, yield); err != nil {
			yield(nil, err)
		}
	}
}

// walk reads a stream and gives its fingerprints to yield. It reports whether yield wants more.
func (l *Live) walk(ctx context.Context, kind record.Kind, level diff.Level, yield func([]record.Fingerprint, error) bool) (more bool, err error) {
	source, details, until, err := l.source(ctx, kind)
	if err != nil {
		return true, err
	}
	listing := level == diff.LevelFast && kind == record.KindConversation
	t := newTally(kind, until)
	if kind == record.KindConversation {
		if err := l.startKnowledge(); err != nil {
			return true, err
		}
	}
	if listing {
		return l.list(ctx, kind, tallied{source, t}, t, yield)
	}
	p := l.follow(kind, l.expected(ctx, kind))
	sum, more, err := l.run(ctx, kind.Stream(), kind, tallied{source, t}, details, p, yield)
	if err != nil || !more {
		return more, err
	}
	p.finish()
	again, more, err := l.complete(ctx, t, yield)
	if err != nil || !more {
		return more, err
	}
	if kind == record.KindConversation {
		sum.add(again)
		detail := ""
		if sum.cut > 0 {
			detail = fmt.Sprintf("not counted: %d with more than the %d parts that Intercom gives", sum.cut, maxParts)
		}
		l.check(diff.Check{Name: "messages of conversations by Intercom's own count", Want: sum.expected, Got: sum.held, Detail: detail})
	}
	l.walked(t)
	if kind == record.KindContact {
		return true, l.namedCompanies(ctx)
	}
	return true, nil
}

// sum is what a walk has counted behind the stages.
type sum struct {
	objects        int64 // that came through, rejected ones included
	gone           int64 // that were gone before they were read
	expected, held int64 // messages of conversations
	cut            int64 // conversations that Intercom cuts
}

func (s *sum) add(o sum) {
	s.objects, s.gone, s.expected, s.held, s.cut = s.objects+o.objects, s.gone+o.gone, s.expected+o.expected, s.held+o.held, s.cut+o.cut
}

func (s *sum) take(c *record.Change) {
	s.objects++
	if c.Gone != nil {
		s.gone++
	}
	row := c.Transcript
	switch {
	case row == nil:
	case !row.Complete && row.MessageCount >= maxParts:
		s.cut++
	default:
		s.expected += int64(row.ExpectedMessageCount)
		s.held += int64(min(row.MessageCount, row.ExpectedMessageCount))
	}
}

// run sends a source through the stages and gives the fingerprints to yield. more is false if that wants no more.
func (l *Live) run(ctx context.Context, name string, kind record.Kind, source pipeline.Source[record.Object],
	details pipeline.Stage[record.Object, record.Object], p *progress, yield func([]record.Fingerprint, error) bool,
) (n sum, more bool, err error) {
	w, err := l.begin(ctx, l.keeper, name, source, details)
	if err != nil {
		return n, true, err
	}
	p.through(w.pipeline)
	for b := range w.batches {
		list := make([]record.Fingerprint, 0, len(b.Items)+len(b.Rejects))
		for i := range b.Items {
			n.take(&b.Items[i])
			if list, err = l.take(list, &b.Items[i]); err != nil {
				w.end(true)
				return n, true, err
			}
		}
		n.objects += int64(len(b.Rejects))
		list = l.takeRejects(list, kind, b.Rejects)
		if l.keeper != nil {
			l.keeper.take(b.Files)
		}
		if len(list) > 0 && !yield(list, nil) {
			w.end(true)
			return n, false, nil
		}
	}
	return n, true, w.end(false)
}

// maxParts is the most parts of a conversation or ticket that Intercom gives (fact sheet, section 0).
const maxParts = 500

// expected is how many objects there are, for the progress display.
func (l *Live) expected(ctx context.Context, kind record.Kind) int64 {
	n, err := l.o.Client.Count(ctx, kind, time0)
	if err != nil {
		return 0
	}
	return int64(max(n, 0))
}

func (l *Live) startKnowledge() (err error) {
	if l.knowledge != nil {
		if err := l.knowledge.close(); err != nil {
			return err
		}
	}
	l.knowledge, err = newSpill(l.o.Dir)
	return err
}

// take adds the fingerprint of a change, and keeps that of its knowledge aside. When it was read is left out: that is
// another time whenever somebody looks, and says nothing of whether the object has changed.
func (l *Live) take(list []record.Fingerprint, c *record.Change) ([]record.Fingerprint, error) {
	c.Version.FetchedAt = time0
	if c.EndUser != nil {
		for _, id := range c.EndUser.Companies {
			l.named[id] = true
		}
	}
	if k, ok := c.KnowledgeFingerprint(); ok {
		if err := l.knowledge.add(k); err != nil {
			return list, err
		}
	}
	return append(list, c.Fingerprint()), nil
}

// takeRejects adds what could not be read or mapped. It is there all the same, and why it is rejected is kept for Fetch.
func (l *Live) takeRejects(list []record.Fingerprint, kind record.Kind, rejects []pipeline.Reject) []record.Fingerprint {
	if len(rejects) == 0 {
		return list
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.rejects[kind]
	if known == nil {
		known = make(map[string]string)
		l.rejects[kind] = known
	}
	for _, r := range rejects {
		id := r.ID
		if id == "" { // it is told from others by what it is
			sum := sha256.Sum256(r.Payload)
			id = "without an id, " + hex.EncodeToString(sum[:4])
		}
		if len(known) < mostReasons {
			known[id] = reasonOf(r)
		}
		list = append(list, record.Fingerprint{SourceID: id, Count: 1, State: stateOf(r)})
	}
	return list
}

// mostReasons bounds the memory for reasons of rejects.
const mostReasons = 100_000

// reasonOf is why an object is rejected without which one it is, so that equal reasons can be counted together.
func reasonOf(r pipeline.Reject) string {
	reason := r.Reason
	if r.ID != "" {
		if _, rest, ok := strings.Cut(reason, r.ID+": "); ok {
			reason = rest
		}
	}
	return r.Stage + ": " + reason
}
