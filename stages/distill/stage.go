// Package distill makes knowledge of conversations: the stage between dedupe and load that fills
// record.Change.Knowledge for transcripts. Changes of other kinds pass through.
//
// There are two layers (halo.md, 7.6). The raw layer, key "intercom:conversation:<id>", is the cleaned
// transcript in parent chunks and, inside them, overlapping child chunks. The distilled layer, keys
// "distilled:intercom:conversation:<id>:<kind>:<hash>", is small typed records that quote the messages
// they rest on. A Distiller makes the second; the one here is Offline, which needs no model, and what
// it returns is checked against the messages by the stage, whoever made it.
//
// Knowledge belongs to one customer. A conversation without a contact has none; notes, redacted
// messages, messages of bots and words of other contacts are kept out before anything else sees the
// conversation.
package distill

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Item is one record of the distilled layer as a Distiller proposes it.
type Item struct {
	Kind     string // one of record's kinds of the distilled layer
	Text     string // what is searched and read
	Quotes   []Quote
	Evidence []string // why a resolution is one, or an open issue open
	Basis    string   // on what sentences were chosen where the distiller has no words for the language, else ""
	By       string   // the distiller that made it, where that is not the one that was asked
	Fallback string   // why it is not
}

// Quote is a part of a turn's text, in bytes.
type Quote struct{ Turn, Start, End int }

// Distiller makes the distilled layer of a conversation. It is called by several goroutines at once
// and must not keep the conversation or change it. Items without quotes, or with quotes that are not
// the author's own words in their turn, are dropped.
type Distiller interface {
	// Name names the distiller and its version in the metadata of every record.
	Name() string
	Distill(ctx context.Context, c *Conversation) ([]Item, error)
}

// Counting is a Distiller that counts what it meets; the names of its counters begin with distill/.
type Counting interface {
	Distiller
	DistillCounting(ctx context.Context, c *Conversation, counts *pipeline.Counts) ([]Item, error)
}

// Waiting is a Distiller that mostly waits, so that several conversations may be distilled at once: at most so many.
type Waiting interface{ AtOnce() int }

// Config configures a Stage. Only Org is needed.
type Config struct {
	Org       record.UUID
	Rules     Rules
	Distiller Distiller    // Offline if nil
	Log       *slog.Logger // hears of conversations that could not be distilled; nil for silence
}

// Stage is the distill stage. It is safe for concurrent use.
type Stage struct {
	org       record.UUID
	rules     *ruleSet
	distiller Distiller
	log       *slog.Logger
	scratch   sync.Pool
}

// New returns a stage.
func New(cfg Config) *Stage {
	s := &Stage{org: cfg.Org, rules: compileRules(cfg.Rules), distiller: cfg.Distiller, log: cfg.Log}
	if s.distiller == nil {
		s.distiller = new(Offline)
	}
	if s.log == nil {
		s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s.scratch.New = func() any { return new(scratch) }
	return s
}

// Name is the stage's name in progress, counts and rejects.
func (s *Stage) Name() string { return "distill" }

// scratch is memory that is used again from conversation to conversation.
type scratch struct {
	conversation Conversation
	spans        []Span
	chunker      chunker
	encoder      record.Encoder
}

// Process fills Knowledge and Transcript.KnowledgeHash of the transcripts in place and passes
// everything on. It fails only when ctx is done: a conversation that cannot be distilled goes on with
// its raw layer and is counted as distill/failed.
func (s *Stage) Process(ctx context.Context, in []record.Change) (pipeline.Result[record.Change], error) {
	res := pipeline.Result[record.Change]{Items: in}
	if d, ok := s.distiller.(Waiting); ok && d.AtOnce() > 1 && len(in) > 1 {
		return s.together(ctx, in, d.AtOnce())
	}
	w := s.scratch.Get().(*scratch)
	for i := range in {
		next, err := s.change(ctx, &in[i], w, &res.Counts)
		if err != nil {
			return pipeline.Result[record.Change]{}, err
		}
		w = next
	}
	s.scratch.Put(w)
	return res, nil
}

// together is Process for a distiller that waits.
func (s *Stage) together(ctx context.Context, in []record.Change, atOnce int) (pipeline.Result[record.Change], error) {
	counts := make([]pipeline.Counts, len(in))
	err := pipeline.ForEach(ctx, len(in), atOnce, func(ctx context.Context, i int) error {
		w, err := s.change(ctx, &in[i], s.scratch.Get().(*scratch), &counts[i])
		if err == nil {
			s.scratch.Put(w)
		}
		return err
	})
	if err != nil {
		return pipeline.Result[record.Change]{}, err
	}
	res := pipeline.Result[record.Change]{Items: in}
	for _, c := range counts {
		res.Counts.Merge(c)
	}
	return res, nil
}

// change distils one change and returns the scratch for the next one.
func (s *Stage) change(ctx context.Context, change *record.Change, w *scratch, counts *pipeline.Counts) (*scratch, error) {
	t := change.Transcript
	if t == nil {
		return w, nil
	}
	if err := ctx.Err(); err != nil {
		return w, err
	}
	rows, err := s.knowledge(ctx, t, w, counts)
	if err != nil {
		if ctx.Err() != nil {
			return w, ctx.Err()
		}
		counts.Add("distill/failed", 1)
		s.log.Warn("conversation not distilled", "conversation", t.SourceID, "error", err)
		w = new(scratch) // a panic may have left the old one in any state
	}
	for k := range rows {
		rows[k].Seal(&w.encoder)
		counts.Add("distill/"+rows[k].Kind, 1)
	}
	t.KnowledgeHash = record.KnowledgeHash(&w.encoder, rows)
	change.Knowledge = rows
	return w, nil
}

// knowledge returns the rows of a transcript; with an error, those that could be made all the same.
// It never returns nil rows.
func (s *Stage) knowledge(ctx context.Context, t *record.TranscriptRow, w *scratch, counts *pipeline.Counts) ([]record.KnowledgeRow, error) {
	m := &rowMaker{org: s.org, t: t, c: &w.conversation, rows: []record.KnowledgeRow{}}
	counts.Add("distill/conversations", 1)
	if t.ContactID == "" {
		counts.Add("distill/no_contact", 1)
		return m.rows, nil
	}
	if s.rules.forbids(t) {
		counts.Add("distill/skipped_by_keyword", 1)
		return m.rows, nil
	}
	err := guard(func() error {
		var others int
		w.spans, others = readConversation(m.c, t, w.spans[:0])
		if others > 0 {
			counts.Add("distill/messages_of_others", int64(others))
		}
		m.c.Instructions = s.rules.instructions
		m.title = title(m.c)
		m.raw(w.chunker.chunks(m.c, header(m.c, t)))
		return nil
	})
	if err != nil {
		m.rows = []record.KnowledgeRow{}
		return m.rows, err
	}
	if len(m.rows) == 0 {
		counts.Add("distill/no_text", 1)
		return m.rows, nil
	}
	if !s.rules.wants(m.c) {
		counts.Add("distill/skipped_by_topic", 1)
		return m.rows, nil
	}
	raw := len(m.rows)
	err = guard(func() error {
		items, err := s.distil(ctx, m.c, counts)
		if err != nil {
			return err
		}
		if dropped := m.distilled(items, s.distiller.Name()); dropped > 0 {
			counts.Add("distill/ungrounded", int64(dropped))
		}
		return nil
	})
	if err != nil {
		m.rows = m.rows[:raw]
	}
	return m.rows, err
}

func (s *Stage) distil(ctx context.Context, c *Conversation, counts *pipeline.Counts) ([]Item, error) {
	if d, ok := s.distiller.(Counting); ok {
		return d.DistillCounting(ctx, c, counts)
	}
	return s.distiller.Distill(ctx, c)
}

// guard calls f and turns a panic of its into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}
